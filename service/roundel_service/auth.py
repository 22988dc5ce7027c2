"""Who calls: producers by a shared key, users by a signed token."""

from __future__ import annotations

import hmac
import re
import time
from collections.abc import Callable, Sequence
from functools import cached_property
from typing import final

import attrs
from joserfc import jwt
from joserfc.errors import JoseError
from joserfc.jwk import OctKey

from .problems import Problem, forbidden, unauthorized

USER_NAME = r"[A-Za-z0-9._~@:+-]{1,128}"
"""What the name of a user is made of."""

MIN_SECRET = 32
"""The shortest secret, in bytes, that tokens may be signed with (RFC 7518 3.2)."""

_USER = re.compile(USER_NAME)


@final
@attrs.frozen
class Producer:
    """A backend that holds a producer key."""


@final
@attrs.frozen
class User:
    """A user, until *expires_at*, in seconds since 1970.

    *by_cookie* says that a browser added the proof by itself, whoever wrote the page.
    """

    name: str
    expires_at: float
    by_cookie: bool


Caller = Producer | User


@final
@attrs.frozen(kw_only=True, repr=False)
class Gate:
    """Tells from the proofs that a request presents who its caller is.

    *producer_keys* and *jwt_secret* are secrets; nothing prints them. A token's
    *audience* and *issuer* are checked where they are given. *clock* returns seconds
    since 1970.
    """

    producer_keys: Sequence[str]
    jwt_secret: str
    audience: str | None = None
    issuer: str | None = None
    clock: Callable[[], float] = time.time

    def producer(self, authorization: str | None, cookie: str | None) -> Producer:
        """Return the calling producer; anybody else is a 401 or 403 `Problem`."""
        caller = self._caller(authorization, cookie)
        if not isinstance(caller, Producer):
            raise forbidden("this call is for producers, the proof is a user's")
        return caller

    def user(self, authorization: str | None, cookie: str | None) -> User:
        """Return the calling user; anybody else is a 401 or 403 `Problem`."""
        caller = self._caller(authorization, cookie)
        if not isinstance(caller, User):
            raise forbidden("this call is for users, the proof is a producer's")
        return caller

    def _caller(self, authorization: str | None, cookie: str | None) -> Caller:
        # Every proof that is there is checked: a bad one is never made up for by
        # another, and there is no anonymous caller to fall back to.
        callers: list[Caller] = []
        if authorization is not None:
            callers.append(self._bearer(authorization))
        if cookie is not None:
            callers.append(self._token(cookie, by_cookie=True))
        if not callers:
            raise unauthorized("expected Authorization: Bearer, or the cookie roundel")
        return callers[0]

    def _bearer(self, authorization: str) -> Caller:
        scheme, _, proof = authorization.partition(" ")
        if scheme.lower() != "bearer" or not proof:
            raise unauthorized("Authorization: expected the scheme Bearer and a proof")
        proof = proof.strip()
        return Producer() if self._is_key(proof) else self._token(proof)

    def _is_key(self, proof: str) -> bool:
        # Every key is compared, so that the time tells nothing of which it was.
        presented = proof.encode()
        matches = [
            hmac.compare_digest(key.encode(), presented) for key in self.producer_keys
        ]
        return any(matches)

    def _token(self, token: str, *, by_cookie: bool = False) -> User:
        try:
            claims = jwt.decode(token, self._key, algorithms=["HS256"]).claims
            self._rules.validate(claims)
        except (JoseError, ValueError, TypeError) as error:
            raise _bad_token(error) from None
        name, expires_at = claims["sub"], claims["exp"]
        if not isinstance(name, str) or not _USER.fullmatch(name):
            raise unauthorized("the token's sub is no user name")
        return User(name, float(expires_at), by_cookie)

    def sign(self, user: str, *, ttl: float) -> str:
        """Return a token for *user* that is valid for *ttl* seconds."""
        claims = {"sub": user, "exp": int(self.clock() + ttl)}
        if self.audience is not None:
            claims["aud"] = self.audience
        if self.issuer is not None:
            claims["iss"] = self.issuer
        return jwt.encode({"alg": "HS256"}, claims, self._key, algorithms=["HS256"])

    @cached_property
    def _key(self) -> OctKey:
        return OctKey.import_key(self.jwt_secret)

    @property
    def _rules(self) -> jwt.JWTClaimsRegistry:
        options: dict[str, jwt.ClaimsOption] = {
            "sub": {"essential": True},
            "exp": {"essential": True},
        }
        if self.audience is not None:
            options["aud"] = {"essential": True, "value": self.audience}
        if self.issuer is not None:
            options["iss"] = {"essential": True, "value": self.issuer}
        return jwt.JWTClaimsRegistry(now=int(self.clock()), leeway=0, **options)


def is_user_name(name: str) -> bool:
    """Tell whether *name* may be the name of a user."""
    return _USER.fullmatch(name) is not None


def _bad_token(error: Exception) -> Problem:
    # The library's words name the claim or the rule, never the token itself.
    return unauthorized(f"the token is not valid: {error}")
