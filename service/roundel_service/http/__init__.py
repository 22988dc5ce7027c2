"""The HTTP contract: routes, request decoding, access control and responses."""
