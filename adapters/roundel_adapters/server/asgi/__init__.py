"""HTTP/1.1 and HTTP/2 for ASGI applications, with limits on what a peer may use."""
