"""JWK sets (RFC 7517): selects the keys for tokens and verifies signatures."""

from __future__ import annotations

import json
from codecs import BOM_UTF8
from collections.abc import Iterable, Mapping
from functools import cache
from typing import TYPE_CHECKING, Annotated, Any, Literal, TypeAlias, final

import attrs
import msgspec

from . import jose

if TYPE_CHECKING:
    from joserfc import jwk, jws

MAX_KEYS = 100
"""Maximum number of keys in a set."""

RSA_BITS = range(2_048, 16_385)
"""Allowed lengths of an RSA key in bits (RFC 7518 3.3, and the limit of OpenSSL)."""

EXPECTED_KEY = "a signature key: RSA (2048 bits or more), P-256, P-384 or Ed25519"

Claims: TypeAlias = dict[str, Any]


def jws_registry(algorithms: Mapping[str, str]) -> jws.JWSRegistry:
    """Return a registry of only these *algorithms*: the name in a header to its rule.

    Other header parameters are ignored, as RFC 7515 4 requires, except `crit`.
    """
    # RFC 7515 4.1.11: a token with an unknown critical parameter is invalid.
    critical = {"crit": jose.HeaderParameter("Critical", "none")}
    names = tuple(algorithms)
    registry = jose.jws.JWSRegistry(critical, names, strict_check_header=False)
    known = jose.jws.JWSRegistry.algorithms
    registry.algorithms = {name: known[rule] for name, rule in algorithms.items()}
    registry.max_header_length = 2048
    return registry


_ALGORITHM_NAMES = {
    **{name: name for name in ("RS256", "PS256", "ES256", "ES384", "Ed25519")},
    # The old name of Ed25519 (RFC 9864), which would also allow Ed448.
    "EdDSA": "Ed25519",
}


@cache
def _registry() -> jws.JWSRegistry:
    return jws_registry(_ALGORITHM_NAMES)


class JwksError(Exception):
    """A set that cannot be read; the message quotes nothing of its content."""


@final
@attrs.frozen
class VerificationKey:
    """A public key for tokens of one *algorithm*."""

    kid: str | None
    algorithm: str
    key: jwk.Key

    def verifies(self, signed: jws.CompactSignature) -> bool:
        return jose.jws.validate_compact(signed, self.key, registry=_registry())


@final
@attrs.frozen
class UnverifiedToken:
    """A parsed token; *kid* is the id of its key, if the header has one."""

    kid: str | None
    algorithm: str
    signed: jws.CompactSignature

    def verify(self, keys: Iterable[VerificationKey]) -> Claims:
        """Return the claims if one of *keys* signed the token, or raise `JoseError`."""
        for key in keys:
            # The type of the key fixes the algorithm, not the token.
            if key.algorithm == self.algorithm and key.verifies(self.signed):
                claims = json.loads(self.signed.payload)
                if not isinstance(claims, dict):
                    raise jose.InvalidPayloadError
                return claims
        raise jose.BadSignatureError


def parse_token(text: str) -> UnverifiedToken:
    """Parse a token.

    Raises `JoseError`, `ValueError`, `TypeError` or `RecursionError`.
    """
    registry = _registry()
    signed = jose.jws.extract_compact(text.encode(), registry=registry)
    header = signed.headers()
    registry.check_header(header)
    algorithm = registry.get_alg(header["alg"]).name
    return UnverifiedToken(header.get("kid"), algorithm, signed)


@final
@attrs.frozen
class JwkSet:
    """Holds the *keys* for tokens, and the ids of the *ignored* other keys."""

    keys: tuple[VerificationKey, ...] = ()
    ignored: frozenset[str] = frozenset()

    def named(self, kid: str | None) -> list[VerificationKey]:
        """Return the keys with this *kid*; all keys if the token has none."""
        return [key for key in self.keys if kid is None or key.kid == kid]


class _Document(msgspec.Struct):
    keys: Annotated[list[Any], msgspec.Meta(max_length=MAX_KEYS)]


class _Jwk(msgspec.Struct):
    """The members of a key that restrict its use."""

    kty: str
    kid: str | None = None
    crv: str | None = None
    use: Literal["sig"] | None = None
    alg: str | None = None
    key_ops: tuple[str, ...] | None = None
    n: str = ""


# The algorithms of each kind of key. A key that names none has the first: so each key
# has one algorithm, and the token cannot choose.
_ALGORITHMS = {
    ("RSA", None): ("RS256", "PS256"),
    ("EC", "P-256"): ("ES256",),
    ("EC", "P-384"): ("ES384",),
    ("OKP", "Ed25519"): ("Ed25519",),
}
_PUBLIC_MEMBERS = ("kty", "n", "e", "crv", "x", "y")


def parse_jwk_set(content: bytes) -> JwkSet:
    """Parse a set; raise `JwksError` if *content* is not one with a usable key.

    An issuer that publishes an empty set has a fault, or an empty file is being
    written. To revoke a key, it publishes a new one.
    """
    try:
        bare = content.removeprefix(BOM_UTF8)
        document = msgspec.json.decode(bare, type=_Document)
    except (ValueError, RecursionError):
        raise JwksError(f"not a JWK set of up to {MAX_KEYS} keys") from None
    keys, ignored = [], set()
    for members in document.keys:
        try:
            keys.append(_verification_key(members))
        except (jose.JoseError, ValueError, KeyError):
            # RFC 7517 5: a key that is not understood is ignored.
            kid = members.get("kid") if isinstance(members, dict) else None
            ignored.add(repr(kid[:64]) if isinstance(kid, str) else "without kid")
    if not keys:
        raise JwksError(f"no signature key that can be used, of {len(document.keys)}")
    return JwkSet(tuple(keys), frozenset(ignored))


def _verification_key(members: dict[str, Any]) -> VerificationKey:
    """Return the key; raise `JoseError`, `ValueError` or `KeyError` if it is unfit."""
    key = msgspec.convert(members, _Jwk)
    allowed = _ALGORITHMS[key.kty, key.crv]
    algorithm = _ALGORITHM_NAMES[key.alg or allowed[0]]
    if algorithm not in allowed or "verify" not in (key.key_ops or ("verify",)):
        raise ValueError
    if key.kty == "RSA" and jose.base64_to_int(key.n).bit_length() not in RSA_BITS:
        raise ValueError
    # The other members are checked above; a private part is never imported.
    public = {name: members[name] for name in _PUBLIC_MEMBERS if name in members}
    return VerificationKey(key.kid, algorithm, jose.jwk.import_key(public))
