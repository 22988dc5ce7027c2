"""Who calls: producers by a shared key, users by a signed token or a ticket."""

from __future__ import annotations

import hmac
import time
from collections.abc import Callable, Sequence
from typing import TypeAlias, final

import attrs
from joserfc import jwt
from joserfc.errors import JoseError
from joserfc.jwk import OctKey

from ..domain.names import is_user_name
from ..http.problems import Problem, forbidden, unauthorized
from .jwk_set import Claims, token_rules
from .jwks import JwkSet
from .tickets import Ticket, Tickets
from .verified_tokens import VerifiedTokenCache

MIN_SECRET = 32
"""The shortest secret, in bytes, that tokens may be signed with (RFC 7518 3.2)."""

MAX_CREDENTIAL = 8_192
"""The longest token or ticket, in characters, that is looked at."""

CLOCK_SKEW = 60.0
"""For how many seconds the clock of who issues tokens may be ahead."""

_RULES = token_rules({"HS256": "HS256"})
_END_OF_TIME = 253_402_300_800.0
"""The year 10000: no time of a token is meant to be later, or as long ago."""


@final
@attrs.frozen(kw_only=True, repr=False)
class Credentials:
    """What a request presents; *ticket* is for the stream alone."""

    authorization: str | None = None
    cookie: str | None = None
    ticket: str | None = None


@final
@attrs.frozen
class Producer:
    """A backend that holds a producer key; *number* says which, from 1 on."""

    number: int


@final
@attrs.frozen(kw_only=True)
class User:
    """A user, until *expires_at*; times are in seconds since 1970.

    *issued_at* is the proof's, and 0 if it tells none, so that any revocation refuses
    it. *by_cookie* says that a browser added the proof by itself, whoever wrote the
    page; *ticket* is the proof itself if it is one.
    """

    name: str
    expires_at: float
    issued_at: float
    by_cookie: bool = False
    ticket: Ticket | None = None


Caller: TypeAlias = Producer | User


def _as_key(secret: str) -> OctKey:
    if len(secret.encode()) < MIN_SECRET:
        raise ValueError(f"expected a secret of at least {MIN_SECRET} bytes")
    return OctKey.import_key(secret)


@final
@attrs.frozen(repr=False)
class HmacKey:
    """Signs and verifies tokens by HS256.

    What is too short, or is somebody's public key, is a `ValueError`.
    """

    _key: OctKey = attrs.field(converter=_as_key)
    _verified: VerifiedTokenCache = attrs.field(
        factory=VerifiedTokenCache, init=False, eq=False
    )

    async def claims(self, token: str) -> Claims:
        """Return the claims of a *token* that this secret has signed.

        Any other is a `JoseError`, `ValueError`, `TypeError` or `RecursionError`.
        """
        claims = self._verified.get(token)
        if claims is None:
            claims = jwt.decode(token, self._key, registry=_RULES).claims
            self._verified.keep(token, claims)
        return claims

    def sign(self, claims: Claims) -> str:
        """Return the token that says so."""
        return jwt.encode({"alg": "HS256"}, claims, self._key, registry=_RULES)


Keys: TypeAlias = HmacKey | JwkSet
"""What tokens are verified with; it fixes the algorithm, the token never does."""


@final
@attrs.frozen(kw_only=True, repr=False)
class Authenticator:
    """Tells from the proofs that a request presents who its caller is.

    *producer_keys* are secrets; nothing prints them. A token's *audience* and
    *issuer* are checked where they are given. *clock* returns seconds since 1970.
    """

    producer_keys: Sequence[str]
    keys: Keys
    tickets: Tickets
    audience: str | None = None
    issuer: str | None = None
    clock: Callable[[], float] = time.time
    _encoded_keys: tuple[bytes, ...] = attrs.field(init=False)

    @_encoded_keys.default
    def _encode_keys(self) -> tuple[bytes, ...]:
        return tuple(key.encode() for key in self.producer_keys)

    async def producer(self, credentials: Credentials) -> Producer:
        """Return the calling producer; anybody else is a 401 or 403 `Problem`."""
        caller = await self.caller(credentials)
        if not isinstance(caller, Producer):
            raise forbidden("this call is for producers, the proof is a user's")
        return caller

    async def user(self, credentials: Credentials) -> User:
        """Return the calling user; anybody else is a 401 or 403 `Problem`."""
        caller = await self.caller(credentials)
        if not isinstance(caller, User):
            raise forbidden("this call is for users, the proof is a producer's")
        return caller

    async def caller(self, credentials: Credentials) -> Caller:
        """Return who calls, by the first of the *proofs*, if all of them are good.

        If one is bad, or none is there, it is a 401 `Problem`; a 503 one while there
        are no keys to tell.
        """
        # Every proof that is there is checked: a bad one is never made up for by
        # another, and there is no anonymous caller to fall back to.
        callers: list[Caller] = []
        if credentials.authorization is not None:
            callers.append(await self._bearer(credentials.authorization))
        if credentials.cookie is not None:
            callers.append(await self._token(credentials.cookie, by_cookie=True))
        if credentials.ticket is not None:
            callers.append(self._ticket(credentials.ticket))
        if not callers:
            raise unauthorized("expected Authorization: Bearer, or the cookie roundel")
        return callers[0]

    async def _bearer(self, authorization: str) -> Caller:
        scheme, _, proof = authorization.partition(" ")
        if scheme.lower() != "bearer" or not proof:
            raise unauthorized("Authorization: expected the scheme Bearer and a proof")
        proof = proof.strip()
        return self._producer(proof) or await self._token(proof)

    def _producer(self, proof: str) -> Producer | None:
        # Every key is compared, so that the time tells nothing of which it was.
        presented = proof.encode(errors="surrogatepass")
        matches = [hmac.compare_digest(key, presented) for key in self._encoded_keys]
        return Producer(matches.index(True) + 1) if any(matches) else None

    def _ticket(self, text: str) -> User:
        ticket = self.tickets.read(_bounded(text))
        return User(
            name=ticket.user,
            expires_at=ticket.holds_until,
            issued_at=ticket.issued_at,
            ticket=ticket,
        )

    async def _token(self, text: str, *, by_cookie: bool = False) -> User:
        try:
            claims = await self.keys.claims(_bounded(text))
        except (JoseError, ValueError, TypeError, RecursionError) as error:
            raise _bad_token(error) from None
        self._check_whose(claims)
        return self._user(claims, by_cookie=by_cookie)

    def _check_whose(self, claims: Claims) -> None:
        audience = claims.get("aud")
        audiences = audience if isinstance(audience, list) else [audience]
        if self.audience is not None and self.audience not in audiences:
            raise unauthorized("the token's aud is not this service's")
        if self.issuer is not None and self.issuer != claims.get("iss"):
            raise unauthorized("the token's iss is not the one that is believed")

    def _user(self, claims: Claims, *, by_cookie: bool) -> User:
        name, now = claims.get("sub"), self.clock()
        expires_at = _time(claims, "exp")
        issued_at = _time(claims, "iat", 0.0)
        if not isinstance(name, str) or not is_user_name(name):
            raise unauthorized("the token's sub is no user name")
        if expires_at <= now:
            raise unauthorized("the token has expired")
        if max(issued_at, _time(claims, "nbf", 0.0)) > now + CLOCK_SKEW:
            raise unauthorized("the token is of the future, by its iat or nbf")
        return User(
            name=name,
            expires_at=expires_at,
            issued_at=issued_at,
            by_cookie=by_cookie,
        )

    def sign(self, user: str, *, ttl: float) -> str:
        """Return a token for *user* that is valid for *ttl* seconds.

        A `ValueError` if tokens are verified by a JWK set: others sign those.
        """
        if not isinstance(self.keys, HmacKey):
            raise ValueError(  # noqa: TRY004, it is a setting that does not fit
                "not possible with ROUNDEL_JWKS: expected ROUNDEL_JWT_SECRET"
            )
        now = self.clock()
        claims = {"sub": user, "exp": round(now + ttl, 3), "iat": round(now, 3)}
        told = {"aud": self.audience, "iss": self.issuer}
        claims |= {name: value for name, value in told.items() if value is not None}
        return self.keys.sign(claims)


def _bounded(text: str) -> str:
    if len(text) > MAX_CREDENTIAL:
        raise unauthorized(f"the proof is longer than {MAX_CREDENTIAL} characters")
    return text


def _time(claims: Claims, name: str, missing: float | None = None) -> float:
    """Return the time that a claim tells; what is none is a 401 `Problem`."""
    match claims.get(name, missing):
        case bool():
            pass
        # NaN, and an int that is too long for a float, are not below it either.
        case int() | float() as seconds if abs(seconds) < _END_OF_TIME:
            return float(seconds)
    raise unauthorized(f"the token's {name} is no time in seconds since 1970")


def _bad_token(error: Exception) -> Problem:
    # The library's name of the rule alone: its words quote what the token says.
    rule = error.error if isinstance(error, JoseError) else "no JSON Web Token"
    return unauthorized(f"the token is not valid: {rule}")
