"""A service in memory, on virtual time."""

from __future__ import annotations

from support.service import make_world, world

__all__ = ["make_world", "world"]  # Fixtures are found by their names.
