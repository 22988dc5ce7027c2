"""The mailbox and its badge: pure functions and values, no await, no clock, no framework."""
