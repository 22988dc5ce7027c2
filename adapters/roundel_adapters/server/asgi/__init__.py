"""Hypercorn's protocol classes with limits: HTTP/1.1, HTTP/2 and the ASGI application task."""
