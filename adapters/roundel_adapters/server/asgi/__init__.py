"""Hypercorn's protocol classes with limits: HTTP/1.1, HTTP/2, the ASGI app's task."""
