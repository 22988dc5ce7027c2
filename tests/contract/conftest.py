"""The HTTP contract, tested through ASGI in memory, on virtual time.

`tests/service/http/` compares the path without ASGI with this one, byte for byte.
"""

from __future__ import annotations

from support.service import make_world, world

__all__ = ["make_world", "world"]  # Fixtures are found by their names.
