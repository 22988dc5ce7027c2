"""The mailbox and its badge: pure functions and values, without `await` or a clock."""
