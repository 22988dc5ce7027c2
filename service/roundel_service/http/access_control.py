"""Access control: authentication, CSRF protection, revocation and rate limits."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from math import ceil
from typing import TypeVar, final

import attrs
import trio

from ..domain.operations import ClaimTopics, CorrectRevocation, Operation
from ..engines.base import Engine
from ..identity.authenticator import Authenticator
from ..identity.callers import Caller, Credentials, Producer, User
from ..identity.errors import InvalidCredentials, KeysUnavailable, WrongRole
from ..lru_map import LruMap
from ..telemetry.metrics import Metrics
from .cors import Cors, cross_origin_reason
from .messages import Request
from .problems import Problem
from .token_bucket import TokenBuckets

_Caller = TypeVar("_Caller")
MAX_CLAIMS = 100_000
"""Maximum number of users whose latest token with topics is remembered."""

_WRITES = frozenset({"POST", "PUT", "DELETE"})


@final
@attrs.frozen(kw_only=True)
class RateLimits:
    """Holds the mailboxes per second of a *producer*, and the calls of a *user*.

    *topic* is how often a producer may publish to topics per second: each time, the
    mailboxes of all followers that are online are written. A producer's burst is 2
    times its rate, the others are 4 times.
    """

    producer: float = 20_000.0
    user: float = 50.0
    topic: float = 10.0


@final
class AccessControl:
    """Authenticates callers and rejects revoked, foreign and too frequent requests."""

    def __init__(
        self,
        authenticator: Authenticator,
        engine: Engine,
        *,
        cors: Cors,
        rates: RateLimits,
        metrics: Metrics,
        clock: Callable[[], float],
    ) -> None:
        self.authenticator = authenticator
        self.cors = cors
        self._engine = engine
        self._metrics = metrics
        self._clock = clock
        # A burst below 1 token would let calls through too early.
        self._producers = TokenBuckets(rates.producer, max(1.0, 2 * rates.producer))
        self._users = TokenBuckets(rates.user, max(1.0, 4 * rates.user))
        self._topics = TokenBuckets(rates.topic, max(1.0, 4 * rates.topic))
        # The time of issue of the latest token whose topics each user follows.
        self._claimed: LruMap[str, float] = LruMap(MAX_CLAIMS)

    async def producer(self, request: Request) -> Producer:
        """Return the calling producer; raises a 401, 403 or 429 `Problem`."""
        producer = await self.authenticate_producer(request)
        self.charge(producer, 1)
        return producer

    async def authenticate_producer(self, request: Request) -> Producer:
        """Return the calling producer without charging it; raises a 401 or 403."""
        credentials = self._credentials(request)
        return await _identified(self.authenticator.producer(credentials))

    async def user(self, request: Request) -> User:
        """Return the calling user; raises a 401, 403 or 429 `Problem`."""
        user = await self.authenticate(request)
        await self.check_revoked(user)
        self._limit("user", self.throttle_delay(user))
        return user

    async def caller(self, request: Request) -> Caller:
        """Return the calling producer or user; raises a 401, 403 or 429 `Problem`."""
        credentials = self._credentials(request)
        caller = await _identified(self.authenticator.caller(credentials))
        if isinstance(caller, Producer):
            self.charge(caller, 1)
            return caller
        return await self.user(request)

    async def authenticate(
        self, request: Request, *, ticket: str | None = None
    ) -> User:
        """Return the calling user without a rate limit; raises a 401 or 403 `Problem`.

        The credential may be revoked: the caller checks the mailbox.
        """
        credentials = self._credentials(request, ticket)
        user = await _identified(self.authenticator.user(credentials))
        self._check_origin(request, user)
        return user

    async def check_revoked(self, user: User) -> None:
        """Raise a 401 `Problem` if the credential of *user* is revoked.

        Otherwise the user follows the topics that the token names, if a later token has
        not said it.
        """
        # A read would pull before a new token says what to pull. A peek is slower: it
        # finds nothing in the cache of a shared engine.
        read = self._engine.peek if self._is_new(user) else self._engine.read
        now, mailbox = self._clock(), (await read(user.name)).mailbox
        if mailbox.revocation.made_at > now:
            await self.correct_revocation(user)
        if mailbox.revocation.applies_to(user.issued_at, now=now):
            raise Problem("revoked")
        if user.topics is None:
            return
        if user.issued_at > mailbox.claimed_at:
            claim = ClaimTopics(topics=user.topics, issued_at=user.issued_at)
            await self._apply(user, claim)
        self._claimed.put(user.name, max(user.issued_at, mailbox.claimed_at))

    def _is_new(self, user: User) -> bool:
        """Return whether the topics of the token may not be in the mailbox yet."""
        if user.topics is None:
            return False
        return user.issued_at > (self._claimed.get(user.name) or 0.0)

    async def correct_revocation(self, user: User) -> None:
        """Store that a revocation of the future, by a wrong clock, was made now."""
        await self._apply(user, CorrectRevocation())

    async def _apply(self, user: User, operation: Operation) -> None:
        (result,) = await self._engine.apply([(user.name, operation)])
        if isinstance(result, Exception):
            raise result

    def throttle_delay(self, user: User) -> float:
        """Charge a call of *user*; return the seconds to wait, 0 if within the rate."""
        return self._users.take(user.name, 1, now=trio.current_time())

    def charge(self, producer: Producer, mailboxes: int, *, topics: int = 0) -> None:
        """Charge *mailboxes* tokens, or raise a 429 `Problem` with `Retry-After`.

        *topics* of them belong to topics, which have a rate of their own.
        """
        now, bucket = trio.current_time(), str(producer.number)
        if topics:
            self._limit("producer", self._topics.take(bucket, topics, now=now))
        self._limit("producer", self._producers.take(bucket, mailboxes, now=now))

    def reserve(self, producer: Producer, mailboxes: int, *, topics: int = 0) -> float:
        """Charge the same tokens in advance; return the seconds to wait."""
        now, bucket = trio.current_time(), str(producer.number)
        delay = self._producers.take(bucket, mailboxes, now=now, reserve=True)
        if not topics:
            return delay
        return max(delay, self._topics.take(bucket, topics, now=now, reserve=True))

    def _limit(self, role: str, delay: float) -> None:
        if delay:
            self._metrics.rate_limited.add(role)
            seconds = ceil(delay)
            raise Problem(
                "too-many-requests",
                f"rate limit exceeded: try again in {seconds} s",
                headers={"Retry-After": str(seconds)},
            )

    def _credentials(self, request: Request, ticket: str | None = None) -> Credentials:
        return Credentials(
            authorization=tuple(request.headers.getlist("Authorization")),
            cookies=tuple(request.cookies(self.authenticator.cookie)),
            ticket=ticket,
        )

    def _check_origin(self, request: Request, user: User) -> None:
        """Raise a 403 `Problem` for a write by cookie from a foreign origin (CSRF)."""
        if not user.by_cookie or request.method not in _WRITES:
            return
        if reason := cross_origin_reason(request.headers, self.cors):
            raise Problem("forbidden", reason)


async def _identified(caller: Awaitable[_Caller]) -> _Caller:
    """Await the authentication; raise its errors as a 401, 403 or 503 `Problem`."""
    try:
        return await caller
    except InvalidCredentials as error:
        raise Problem("unauthorized", str(error)) from None
    except WrongRole as error:
        raise Problem("forbidden", str(error)) from None
    except KeysUnavailable:
        raise Problem("keys-unavailable") from None
