"""The shared secrets that sign and verify the tokens of users."""

from __future__ import annotations

import re
from collections.abc import Sequence
from contextlib import suppress
from functools import cache, cached_property
from typing import TYPE_CHECKING, final

import attrs

from . import jose
from .jwk_set import Claims, jws_registry
from .verified_tokens import VerifiedTokenCache

if TYPE_CHECKING:
    from joserfc import jwk, jws

MIN_SECRET = 32
"""Minimum length of a secret in bytes (RFC 7518 3.2)."""

# The beginnings of keys in PEM (also in Base64), SSH and JWK, and of DER in Base64 (RFC
# 5280 4.1): RSA, P-256, P-384, Ed25519, and a certificate. An attacker knows a public
# key, and could sign with it.
_KEY = re.compile(
    r"\s*(?:-----? ?BEGIN |LS0tLS1CRUdJTi|ssh-|ecdsa-|sk-ssh-|sk-ecdsa-|\{"
    r"|MII[\w+/]{3}ANBgkqhki|MFkwEwYHKoZI|MHYwEAYHKoZI|MCowBQYDK2V"
    r"|MII[\w+/]{3}CC[\w+/]{3}gAwIBAg)"
)


@cache
def _registry() -> jws.JWSRegistry:
    return jws_registry({"HS256": "HS256"})


def is_secret(text: str) -> bool:
    """Return whether *text* is long enough, and no public key."""
    return len(text.encode()) >= MIN_SECRET and not _KEY.match(text)


def _check_secrets(secrets: Sequence[str]) -> tuple[str, ...]:
    if not secrets or not all(map(is_secret, secrets)):
        raise ValueError(
            f"expected secrets of {MIN_SECRET} or more bytes, and no public key"
        )
    return tuple(secrets)


@final
@attrs.frozen(repr=False, eq=False)
class HmacKey:
    """Signs tokens with the first of *secrets*, and verifies with any, by HS256.

    So a secret can be rotated: the old one stays second until its last token expires.
    Raises `ValueError` for a secret that is too short or is a public key.
    """

    _secrets: tuple[str, ...] = attrs.field(converter=_check_secrets)
    _verified: VerifiedTokenCache = attrs.field(factory=VerifiedTokenCache, init=False)

    @cached_property
    def _keys(self) -> list[jwk.OctKey]:
        return [jose.jwk.OctKey.import_key(secret) for secret in self._secrets]

    async def verify(self, token: str) -> Claims:
        """Return the claims of a *token* that was signed with one of the secrets.

        Raises `JoseError`, `ValueError`, `TypeError` or `RecursionError` for others.
        """
        claims = self._verified.get(token)
        if claims is None:
            claims = self._decode(token)
            self._verified.add(token, claims)
        return claims

    def _decode(self, token: str) -> Claims:
        *others, last = self._keys
        for key in others:
            with suppress(jose.BadSignatureError):
                return jose.jwt.decode(token, key, registry=_registry()).claims
        return jose.jwt.decode(token, last, registry=_registry()).claims

    def sign(self, claims: Claims) -> str:
        """Return a token with these *claims*."""
        header = {"alg": "HS256"}
        return jose.jwt.encode(header, claims, self._keys[0], registry=_registry())
