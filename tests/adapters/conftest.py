"""A server on loopback, for the tests that need sockets."""

from __future__ import annotations

from support.server import serve

__all__ = ["serve"]  # Fixtures are found by their names.
