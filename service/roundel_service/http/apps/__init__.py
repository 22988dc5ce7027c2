"""The applications that serve the routes: without ASGI, by Quart-Trio, and deferred."""
