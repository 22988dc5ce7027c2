"""The shared secret that signs and verifies the tokens of users."""

from __future__ import annotations

from typing import final

import attrs
from joserfc import jwt
from joserfc.jwk import OctKey

from .jwk_set import Claims, jws_registry
from .verified_tokens import VerifiedTokenCache

MIN_SECRET = 32
"""Minimum length of the secret in bytes (RFC 7518 3.2)."""

_REGISTRY = jws_registry({"HS256": "HS256"})


def _as_key(secret: str) -> OctKey:
    if len(secret.encode()) < MIN_SECRET:
        raise ValueError(f"expected a secret of at least {MIN_SECRET} bytes")
    return OctKey.import_key(secret)


@final
@attrs.frozen(repr=False, eq=False)
class HmacKey:
    """Signs and verifies tokens with HS256.

    Raises `ValueError` for a secret that is too short or is a public key.
    """

    _key: OctKey = attrs.field(converter=_as_key)
    _verified: VerifiedTokenCache = attrs.field(factory=VerifiedTokenCache, init=False)

    async def verify(self, token: str) -> Claims:
        """Return the claims of a *token* that was signed with this secret.

        Raises `JoseError`, `ValueError`, `TypeError` or `RecursionError` for others.
        """
        claims = self._verified.get(token)
        if claims is None:
            claims = jwt.decode(token, self._key, registry=_REGISTRY).claims
            self._verified.add(token, claims)
        return claims

    def sign(self, claims: Claims) -> str:
        """Return a token with these *claims*."""
        return jwt.encode({"alg": "HS256"}, claims, self._key, registry=_REGISTRY)
