"""The log of a mailbox: what changed from one stored record to the next."""
