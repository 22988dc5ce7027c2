"""The handlers of the HTTP contract, one file for each role."""
