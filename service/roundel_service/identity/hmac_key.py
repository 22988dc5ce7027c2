"""The shared secret that signs and verifies the tokens of users."""

from __future__ import annotations

import re
from functools import cache, cached_property
from typing import TYPE_CHECKING, final

import attrs

from . import jose
from .jwk_set import Claims, jws_registry
from .verified_tokens import VerifiedTokenCache

if TYPE_CHECKING:
    from joserfc import jwk, jws

MIN_SECRET = 32
"""Minimum length of the secret in bytes (RFC 7518 3.2)."""

_PUBLIC_KEY = re.compile(r"BEGIN |ssh-|ecdsa-")


@cache
def _registry() -> jws.JWSRegistry:
    return jws_registry({"HS256": "HS256"})


def _check_secret(secret: str) -> str:
    if len(secret.encode()) < MIN_SECRET:
        raise ValueError(f"expected a secret of at least {MIN_SECRET} bytes")
    if _PUBLIC_KEY.search(secret):
        # joserfc raises the error. It is not asked about other texts, which would
        # import it at the start.
        jose.jwk.OctKey.import_key(secret)
    return secret


@final
@attrs.frozen(repr=False, eq=False)
class HmacKey:
    """Signs and verifies tokens with HS256.

    Raises `ValueError` for a secret that is too short or is a public key.
    """

    _secret: str = attrs.field(converter=_check_secret)
    _verified: VerifiedTokenCache = attrs.field(factory=VerifiedTokenCache, init=False)

    @cached_property
    def _key(self) -> jwk.OctKey:
        return jose.jwk.OctKey.import_key(self._secret)

    async def verify(self, token: str) -> Claims:
        """Return the claims of a *token* that was signed with this secret.

        Raises `JoseError`, `ValueError`, `TypeError` or `RecursionError` for others.
        """
        claims = self._verified.get(token)
        if claims is None:
            claims = jose.jwt.decode(token, self._key, registry=_registry()).claims
            self._verified.add(token, claims)
        return claims

    def sign(self, claims: Claims) -> str:
        """Return a token with these *claims*."""
        header = {"alg": "HS256"}
        return jose.jwt.encode(header, claims, self._key, registry=_registry())
