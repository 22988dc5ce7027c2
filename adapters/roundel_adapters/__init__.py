"""Bindings of `roundel` to frameworks, one per module, and the server."""
