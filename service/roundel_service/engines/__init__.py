"""Where mailboxes are stored: one interface, and an engine for each kind of store."""
