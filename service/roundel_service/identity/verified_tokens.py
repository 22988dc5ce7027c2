"""What tokens claim whose signature was verified, so that it is not done each time.

To verify one takes longer than all else in a user's call, and a page calls again and
again with the same. What is kept is that the signature is good, and nothing else:
times, audience, issuer and revocation are looked at in each call, by whoever asks.
"""

from __future__ import annotations

from collections import OrderedDict
from hashlib import sha256
from typing import final

from .jwk_set import Claims

CAPACITY = 4_096
"""How many tokens are known at the most; the least recently used goes first."""

MAX_LENGTH = 1_024
"""The longest token, in characters, that is kept."""


@final
class VerifiedTokenCache:
    """The claims of verified tokens; nobody changes them.

    A token is known by its digest: neither is it held here, nor does the time that a
    look takes tell how much of one was guessed.
    """

    def __init__(self, capacity: int = CAPACITY) -> None:
        self._capacity = capacity
        self._claims: OrderedDict[bytes, Claims] = OrderedDict()

    def __len__(self) -> int:
        return len(self._claims)

    def get(self, token: str) -> Claims | None:
        """Return what *token* claims if it was verified."""
        digest = _digest(token)
        claims = self._claims.get(digest)
        if claims is not None:
            self._claims.move_to_end(digest)
        return claims

    def keep(self, token: str, claims: Claims) -> None:
        """Keep what *token*, which was verified just now, *claims*."""
        if len(token) > MAX_LENGTH:
            return
        self._claims[_digest(token)] = claims
        if len(self._claims) > self._capacity:
            self._claims.popitem(last=False)

    def forget(self) -> None:
        """Forget all: the keys are others now."""
        self._claims.clear()


def _digest(token: str) -> bytes:
    return sha256(token.encode()).digest()
