"""A cache of tokens whose signature was verified.

A page sends the same token with each request. Verifying an HS256 token takes 31 µs, and
a lookup 1.5 µs (timeit, Python 3.11); the other algorithms take longer. The cache holds
only the claims of a valid signature. The caller checks times, audience, issuer and
revocation in each request.
"""

from __future__ import annotations

from hashlib import sha256
from typing import final

from ..lru_map import LruMap
from .jwk_set import Claims

MAX_TOKENS = 4_096
"""Maximum number of tokens; the least recently used one is evicted first."""

MAX_TOKEN_LENGTH = 1_024
"""Maximum length of a cached token, in characters."""


@final
class VerifiedTokenCache:
    """Holds the claims of verified tokens, which must not be changed.

    The key is the token's digest. The cache thus stores no token, and the duration of
    a lookup reveals nothing about one.
    """

    def __init__(self, capacity: int = MAX_TOKENS) -> None:
        self._claims: LruMap[bytes, Claims] = LruMap(capacity)

    def get(self, token: str) -> Claims | None:
        """Return the claims of *token* if its signature was verified."""
        return self._claims.get(_digest(token))

    def add(self, token: str, claims: Claims) -> None:
        """Add the *claims* of a verified *token*, unless it is too long."""
        if len(token) <= MAX_TOKEN_LENGTH:
            self._claims.put(_digest(token), claims)


def _digest(token: str) -> bytes:
    return sha256(token.encode()).digest()
