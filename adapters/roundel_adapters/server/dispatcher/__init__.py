"""Event streams, written straight to their sockets by one task."""
