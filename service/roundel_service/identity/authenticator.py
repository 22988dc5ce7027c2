"""Authentication: producers by a shared key, users by a signed token or a ticket."""

from __future__ import annotations

import hmac
import time
from collections.abc import Callable, Mapping, Sequence
from math import floor, inf, nextafter
from typing import Any, TypeAlias, final

import attrs

from ..domain.names import check_user_name
from ..domain.revocation import CLOCK_SKEW, MAX_TIME
from . import jose
from .callers import Caller, Credentials, Producer, User
from .errors import InvalidCredentials, WrongRole
from .hmac_key import HmacKey
from .jwk_set import Claims
from .jwks import JwksClient
from .tickets import SecretSource, Tickets, process_secret
from .topic_claim import MAX_TOPICS, read_topics

MAX_CREDENTIAL = 8_192
"""Maximum length of a token or ticket, in characters."""

MAX_COOKIES = 8
"""Maximum number of different cookies of a request that are verified."""

Keys: TypeAlias = HmacKey | JwksClient
"""The keys that verify tokens; they fix the algorithm, a token never does."""


@final
@attrs.define(kw_only=True, repr=False, eq=False)
class Authenticator:
    """Identifies the caller from the credentials of a request.

    *producer_keys* are secrets and are never printed. A token has to be for one of
    *audiences* and from one of *issuers*, if there are any. Its *user_claim* names the
    user. *cookie* is the name of the cookie with a token. A token has at most
    *max_topics* topics. *clock* returns seconds since 1970. *ticket_secret* returns the
    secret that tickets are signed with.
    """

    producer_keys: Sequence[str]
    keys: Keys
    audiences: Sequence[str] = ()
    issuers: Sequence[str] = ()
    user_claim: str = "sub"
    cookie: str = "roundel"
    max_topics: int = MAX_TOPICS
    clock: Callable[[], float] = time.time
    ticket_secret: SecretSource = attrs.field(factory=process_secret)
    tickets: Tickets = attrs.field(init=False)

    @tickets.default
    def _make_tickets(self) -> Tickets:
        return Tickets(secret=self.ticket_secret, clock=self.clock)

    def replace_keys(self, producer_keys: Sequence[str], keys: Keys) -> None:
        """Verify credentials with these keys from now on."""
        self.producer_keys, self.keys = producer_keys, keys

    async def producer(self, credentials: Credentials) -> Producer:
        """Return the calling producer; raise `WrongRole` if the caller is a user."""
        caller = await self.caller(credentials)
        if not isinstance(caller, Producer):
            raise WrongRole("expected a producer key, got credentials of a user")
        return caller

    async def user(self, credentials: Credentials) -> User:
        """Return the calling user; raise `WrongRole` if the caller is a producer."""
        caller = await self.caller(credentials)
        if not isinstance(caller, User):
            raise WrongRole("expected credentials of a user, got a producer key")
        return caller

    async def caller(self, credentials: Credentials) -> Caller:
        """Return the caller that the most explicit of the credentials identifies.

        Raises `InvalidCredentials`, or `KeysUnavailable` before a key is loaded.
        """
        # A browser adds cookies to any request; a ticket is for one. A less explicit
        # credential is not looked at, and never replaces an invalid one.
        if credentials.ticket is not None:
            return await self._from_ticket(credentials.ticket)
        bearer = _bearer_credential(credentials.authorization)
        if bearer is not None:
            return self._producer_with(bearer) or await self._from_token(bearer)
        if credentials.cookies:
            return await self._from_cookies(credentials.cookies)
        raise InvalidCredentials(
            f"expected Authorization: Bearer, or the cookie {self.cookie}"
        )

    def _producer_with(self, credential: str) -> Producer | None:
        # Every key is compared, so that the duration does not depend on the match.
        presented = credential.encode(errors="surrogatepass")
        keys = self.producer_keys
        matches = [hmac.compare_digest(key.encode(), presented) for key in keys]
        return Producer(matches.index(True) + 1) if any(matches) else None

    async def _from_ticket(self, text: str) -> User:
        ticket = await self.tickets.verify(_check_length(text))
        return User(
            name=ticket.user,
            expires_at=ticket.expires_at,
            issued_at=ticket.issued_at,
            ticket=ticket,
        )

    async def _from_cookies(self, values: Sequence[str]) -> User:
        """Return the user that all verified *values* name, by the latest of them.

        A browser sends one cookie for each path and domain that it was set for (RFC
        6265 5.4), and some of them may be of an earlier login.
        """
        different = dict.fromkeys(values)
        if len(different) > MAX_COOKIES:
            raise InvalidCredentials(
                f"expected at most {MAX_COOKIES} different cookies"
            )
        users: list[User] = []
        errors: list[InvalidCredentials] = []
        for value in different:
            try:
                users.append(await self._from_token(value))
            except InvalidCredentials as error:
                errors.append(error)
        if not users:
            raise errors[0]
        if len({user.name for user in users}) > 1:
            raise InvalidCredentials("the cookies name different users")
        latest = max(users, key=lambda user: (user.issued_at, user.expires_at))
        return attrs.evolve(latest, by_cookie=True)

    async def _from_token(self, text: str) -> User:
        if text.count(".") != 2:
            raise InvalidCredentials(
                "it is no JWT, and no producer key of this service"
            )
        try:
            claims = await self.keys.verify(_check_length(text))
        except (jose.JoseError, ValueError, TypeError, RecursionError) as error:
            # Only the library's name of the rule: its messages quote the token.
            rule = error.error if isinstance(error, jose.JoseError) else "not a JWT"
            raise InvalidCredentials(f"the token is not valid: {rule}") from None
        self._check_audience_and_issuer(claims)
        return self._user_from(claims)

    def _check_audience_and_issuer(self, claims: Claims) -> None:
        audience = claims.get("aud")
        # RFC 7519 4.1.3: a text or a list of texts.
        given = audience if isinstance(audience, list) else [audience]
        if self.audiences and not any(each in given for each in self.audiences):
            raise InvalidCredentials("the token's aud is not the expected audience")
        if self.issuers and claims.get("iss") not in self.issuers:
            raise InvalidCredentials("the token's iss is not the expected issuer")

    def _user_from(self, claims: Claims) -> User:
        claim, now = self.user_claim, self.clock()
        name = claims.get(claim)
        expires_at = _time_claim(claims, "exp")
        issued_at = _time_claim(claims, "iat", 0.0)
        if not isinstance(name, str):
            raise InvalidCredentials(f"the token's {claim} is not a user name")
        if reason := check_user_name(name):
            raise InvalidCredentials(
                f"the token's {claim} is not a user name: {reason}"
            )
        if expires_at <= now:
            raise InvalidCredentials("the token has expired")
        if max(issued_at, _time_claim(claims, "nbf", 0.0)) > now + CLOCK_SKEW:
            raise InvalidCredentials("the token's iat or nbf is in the future")
        return User(
            name=name,
            expires_at=expires_at,
            issued_at=_latest_time(issued_at),
            topics=read_topics(claims, limit=self.max_topics),
        )

    def sign(
        self, user: str, *, ttl: float, topics: Mapping[str, float] | None = None
    ) -> str:
        """Return a token for *user* that is valid for *ttl* seconds.

        *topics* maps the topics that the user follows to times. Raises `ValueError`
        with a JWK set: it holds no private keys.
        """
        if not isinstance(self.keys, HmacKey):
            raise ValueError(  # noqa: TRY004, a setting is missing
                "not possible with ROUNDEL_JWKS: expected ROUNDEL_JWT_SECRET"
            )
        now = self.clock()
        times = {"exp": round(now + ttl, 3), "iat": round(now, 3)}
        expected = {"aud": self.audiences, "iss": self.issuers}
        firsts = {name: values[0] for name, values in expected.items() if values}
        followed = {} if topics is None else {"topics": {**topics}}
        return self.keys.sign({self.user_claim: user, **times, **firsts, **followed})


def _bearer_credential(fields: Sequence[str]) -> str | None:
    """Return the credential of the only Bearer field; `None` if there is none.

    Another scheme is no credential of this service: a proxy may add Basic. A Bearer
    field without a credential is an invalid one (RFC 6750 2.1), not a missing one.
    """
    # In linear time, with any white space between scheme and credential.
    parts = [field.replace("\t", " ").strip(" ").partition(" ") for field in fields]
    found = [text.strip(" ") for scheme, _, text in parts if scheme.lower() == "bearer"]
    if len(found) > 1:
        raise InvalidCredentials("expected one Authorization: Bearer, got several")
    if found and not found[0]:
        raise InvalidCredentials("Authorization: expected Bearer and a credential")
    return found[0] if found else None


def _check_length(text: str) -> str:
    if len(text) > MAX_CREDENTIAL:
        raise InvalidCredentials(
            f"expected a credential of at most {MAX_CREDENTIAL} characters"
        )
    return text


def _latest_time(issued_at: float) -> float:
    """Return the latest time at which a token with this `iat` can have been issued.

    Issuers cut off the rest of their clock: most write whole seconds (RFC 7519 2),
    others milliseconds. Such a token counts as issued at the end of that unit, so that
    a site may revoke the tokens of a user and sign the next one in one request.
    """
    if issued_at.is_integer():
        return nextafter(issued_at + 1, -inf)
    # A float of today in milliseconds is exact to 0.0003.
    milliseconds = floor(issued_at * 1_000 + 0.001)
    return nextafter((milliseconds + 1) / 1_000, -inf)


def _time_claim(claims: Claims, name: str, missing: float | None = None) -> float:
    seconds: Any = claims.get(name, missing)
    # The comparison is false for NaN, and safe for an int too large for a float.
    if type(seconds) in {int, float} and abs(seconds) < MAX_TIME:
        return float(seconds)
    raise InvalidCredentials(f"the token's {name} is not a time in seconds since 1970")
