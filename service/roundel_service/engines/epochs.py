"""Epochs: identifiers of unbroken sequences of versions."""

from __future__ import annotations

from base64 import urlsafe_b64encode
from hashlib import blake2b


def first_epoch(key: bytes, user: str) -> str:
    """Return an epoch computed from *user*, or another state, in a store with *key*."""
    digest = blake2b(user.encode(), key=key, digest_size=9).digest()
    return urlsafe_b64encode(digest).decode()
