"""Short HTTP/1.1 requests, answered without ASGI."""
