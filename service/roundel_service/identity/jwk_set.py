"""A JWK set (RFC 7517): which keys in it tokens may be signed with, and how."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from typing import Annotated, Any, Literal, TypeAlias, final

import attrs
import msgspec
from joserfc import jwk, jws
from joserfc.errors import BadSignatureError, InvalidPayloadError, JoseError
from joserfc.registry import HeaderParameter
from joserfc.util import base64_to_int

MAX_KEYS = 100
"""The longest set, in keys."""

RSA_BITS = range(2_048, 16_385)
"""How long an RSA key may be (RFC 7518 3.3, and what OpenSSL can do)."""

Claims: TypeAlias = dict[str, Any]


def token_rules(algorithms: Mapping[str, str]) -> jws.JWSRegistry:
    """Return the rules for tokens of *algorithms* alone, and what each name means.

    Whatever else a header says is ignored, as RFC 7515 4 wants it, except `crit`.
    """
    # RFC 7515 4.1.11: to demand what is not understood makes a token invalid.
    critical = {"crit": HeaderParameter("Critical", "none")}
    rules = jws.JWSRegistry(critical, tuple(algorithms), strict_check_header=False)
    known = jws.JWSRegistry.algorithms
    rules.algorithms = {name: known[meaning] for name, meaning in algorithms.items()}
    rules.max_header_length = 2048
    return rules


_MEANING = {"RS256": "RS256", "ES256": "ES256", "Ed25519": "Ed25519"}
# The old name (RFC 9864), which by itself would allow another curve as well.
_MEANING["EdDSA"] = "Ed25519"

_RULES = token_rules(_MEANING)


class UnreadableError(Exception):
    """A set that cannot be read; the message quotes nothing of it."""


def _claims(payload: bytes) -> Claims:
    claims = json.loads(payload)
    if not isinstance(claims, dict):
        raise InvalidPayloadError
    return claims


@final
@attrs.frozen
class VerificationKey:
    """A key for tokens of one *algorithm*, whoever asks."""

    kid: str | None
    algorithm: str
    key: jwk.Key

    def has_signed(self, signed: jws.CompactSignature) -> bool:
        return jws.validate_compact(signed, self.key, registry=_RULES)


@final
@attrs.frozen
class Token:
    """A token that is not verified yet; *kid* names its key, if it says which."""

    kid: str | None
    algorithm: str
    signed: jws.CompactSignature

    def claims(self, keys: Iterable[VerificationKey]) -> Claims:
        """Return its claims if one of *keys* has signed it, else raise `JoseError`."""
        for key in keys:
            # Each key is for the one algorithm that its type fits, whoever asks.
            if key.algorithm == self.algorithm and key.has_signed(self.signed):
                return _claims(self.signed.payload)
        raise BadSignatureError


def parse_token(text: str) -> Token:
    """Read a token; raises `JoseError`, `ValueError`, `TypeError`, `RecursionError`."""
    signed = jws.extract_compact(text.encode(), registry=_RULES)
    header = signed.headers()
    _RULES.check_header(header)
    return Token(header.get("kid"), _RULES.get_alg(header["alg"]).name, signed)


@final
@attrs.frozen
class KeySet:
    """What is in a set: the keys for tokens, and what the others are called."""

    keys: tuple[VerificationKey, ...] = ()
    ignored: frozenset[str] = frozenset()

    def named(self, kid: str | None) -> list[VerificationKey]:
        """Return the keys that a token may be signed with that names this *kid*."""
        return [key for key in self.keys if kid is None or key.kid == kid]


class _Document(msgspec.Struct):
    keys: Annotated[list[dict[str, Any]], msgspec.Meta(max_length=MAX_KEYS)]


class _Jwk(msgspec.Struct):
    """What a key says of its use."""

    kty: str
    kid: str | None = None
    crv: str | None = None
    use: Literal["sig"] | None = None
    alg: str | None = None
    key_ops: tuple[str, ...] | None = None
    n: str = ""


FIT = "one for signatures by RSA (2048 bits or more), P-256 or Ed25519"
_ALGORITHMS = {
    ("RSA", None): "RS256",
    ("EC", "P-256"): "ES256",
    ("OKP", "Ed25519"): "Ed25519",
}
_PUBLIC = ("kty", "n", "e", "crv", "x", "y")


def parse(content: bytes) -> KeySet:
    """Read a set; raises `UnreadableError` for what is none."""
    try:
        document = msgspec.json.decode(content, type=_Document)
    except (ValueError, RecursionError):
        raise UnreadableError(f"no JWK set of up to {MAX_KEYS} keys") from None
    keys, ignored = [], set()
    for members in document.keys:
        try:
            keys.append(_import(members))
        except (JoseError, ValueError, KeyError):
            ignored.add(_name(members.get("kid")))
    return KeySet(tuple(keys), frozenset(ignored))


def _name(kid: object) -> str:
    return repr(kid[:64]) if isinstance(kid, str) else "without kid"


def _import(members: dict[str, Any]) -> VerificationKey:
    """Return the key for tokens that this is; one that is not raises an error."""
    told = msgspec.convert(members, _Jwk)
    algorithm = _ALGORITHMS[told.kty, told.crv]
    is_meant = _MEANING.get(told.alg or algorithm) == algorithm
    if not is_meant or "verify" not in (told.key_ops or ("verify",)):
        raise ValueError
    if told.kty == "RSA" and base64_to_int(told.n).bit_length() not in RSA_BITS:
        raise ValueError
    # Only these: the rest has been judged, and a private part is never wanted.
    public = {name: members[name] for name in _PUBLIC if name in members}
    return VerificationKey(told.kid, algorithm, jwk.import_key(public))
