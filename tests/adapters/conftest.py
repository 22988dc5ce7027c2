"""A server on loopback, for the tests that need sockets."""

from __future__ import annotations

from support.server import connect_tls, serve, serve_tls, tls_contexts

# pytest finds fixtures by their names.
__all__ = ["connect_tls", "serve", "serve_tls", "tls_contexts"]
