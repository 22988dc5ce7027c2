"""The mailbox and its badge: values and pure functions, without I/O or a clock."""
