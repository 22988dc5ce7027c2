"""The command line: serve, token, doctor and the other commands."""
