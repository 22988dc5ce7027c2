"""The badge backend: every user's badge and notifications, right and live."""
