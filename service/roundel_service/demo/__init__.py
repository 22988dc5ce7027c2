"""The demo: two users on one page."""
