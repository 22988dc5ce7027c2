"""The command line: `roundel serve`, `roundel token` and the other commands."""
