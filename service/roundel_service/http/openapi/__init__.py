"""The OpenAPI description of the HTTP contract: a document, and a page."""

from __future__ import annotations

from .pages import pages

__all__ = ["pages"]
