"""The description of the HTTP contract: for programs, and as a page for people."""

from __future__ import annotations

from .document import document
from .pages import pages

__all__ = ["document", "pages"]
