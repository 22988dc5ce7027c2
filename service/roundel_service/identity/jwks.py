"""The keys that an issuer of tokens publishes: a JWK set (RFC 7517), kept fresh.

The set is read at the start, every few minutes, and when a token names a key that is
not in it. What cannot be read changes nothing; what was read replaces all there was,
so that a key which the issuer has retired is believed no longer.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from ipaddress import ip_address
from math import inf
from random import random
from typing import final

import httpx2
import trio

from roundel_adapters.wakeup import Wakeup

from ..http.problems import Problem
from .jwk_set import (
    FIT,
    Claims,
    KeySet,
    UnreadableError,
    VerificationKey,
    parse,
    parse_token,
)
from .jwks_fetch import read
from .verified_tokens import VerifiedTokenCache

log = logging.getLogger(__name__)

REFRESH = 300.0
"""Seconds between two readings of the set."""

MAX_BACKOFF = 60.0
"""Seconds, at the most, until a reading that failed is tried again; at least one."""

ASK_EVERY = 10.0
"""Seconds between two readings that tokens with an unknown key can cause."""

REFRESH_TIMEOUT = 5.0
"""Seconds that such a token waits for a reading."""


@final
class JwkSet:
    """The keys at *source*: a path or a URL that `check_source()` lets through.

    `run()` has to run beside those who ask. *clock* returns seconds since 1970;
    *random* spreads the processes that try again.
    """

    def __init__(
        self,
        source: str,
        *,
        clock: Callable[[], float] = time.time,
        random: Callable[[], float] = random,
    ) -> None:
        self.source = source
        self.loaded_at: float | None = None
        self._clock = clock
        self._random = random
        self._found = KeySet()
        self._verified = VerifiedTokenCache()
        self._wanted = trio.Event()
        self._asked_at = -inf
        self._over = Wakeup()

    @property
    def is_loaded(self) -> bool:
        """Whether there ever was a key to verify a token with."""
        return self.loaded_at is not None

    async def claims(self, token: str) -> Claims:
        """Return the claims of a *token* that one of the keys has signed.

        Any other is a `JoseError`, `ValueError`, `TypeError` or `RecursionError`. As
        long as there never was a key, it is a 503 `Problem`.
        """
        claims = self._verified.get(token)
        if claims is None:
            parsed = parse_token(token)
            claims = parsed.claims(await self._keys(parsed.kid))
            self._verified.keep(token, claims)
        return claims

    async def _keys(self, kid: str | None) -> list[VerificationKey]:
        keys = self._found.named(kid)
        if not keys:
            await self._ask()
            keys = self._found.named(kid)
        if not self.is_loaded:
            raise keys_unavailable()
        return keys

    async def _ask(self) -> None:
        """Wait a little for a reading; it is asked for unless one was just now."""
        if not self._wanted.is_set():
            if trio.current_time() < self._asked_at + ASK_EVERY:
                return
            self._asked_at = trio.current_time()
            self._wanted.set()
        with trio.move_on_after(REFRESH_TIMEOUT):
            await self._over.wait()

    async def run(
        self, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED
    ) -> None:
        """Keep the keys fresh, for ever.

        Started means that the set was read once, or that this has failed.
        """
        failures = 0 if await self._refresh() else 1
        task_status.started()
        while True:
            with trio.move_on_after(self._pause(failures)):
                await self._wanted.wait()
            failures = 0 if await self._refresh() else failures + 1

    def _pause(self, failures: int) -> float:
        if not failures:
            return REFRESH
        longest = min(MAX_BACKOFF, 2.0 ** min(failures, 10))
        return 1 + self._random() * (longest - 1)

    async def _refresh(self) -> bool:
        """Read the set, and tell whether that was possible."""
        try:
            self._take(parse(await read(self.source)))
        except UnreadableError as error:
            log.warning("ROUNDEL_JWKS could not be read: %s", error)
            return False
        finally:
            self._wanted = trio.Event()
            self._over.notify()
        return True

    def _take(self, found: KeySet) -> None:
        # Told once, not at each reading: a set may have keys for other things in it.
        for kid in found.ignored - self._found.ignored:
            log.warning("ROUNDEL_JWKS: the key %s is ignored, expected %s", kid, FIT)
        if found.keys:
            self.loaded_at = self._clock()
        self._found = found
        self._verified.forget()


def check_source(text: str) -> str:
    """Return *text* if a set of keys may be read from it; a `ValueError` if not.

    It is the path of a file, an https URL, or an http URL of this machine: who can
    change keys on their way can be any user. A password in a URL is refused.
    """
    if text and "://" not in text:
        return text
    try:
        url = httpx2.URL(text)
    except httpx2.InvalidURL:
        url = httpx2.URL()
    is_safe = url.scheme == "https" or (url.scheme == "http" and _is_loopback(url.host))
    if not is_safe or not url.host or url.userinfo:
        raise ValueError("expected a path, an https URL, or an http URL of loopback")
    return text


def _is_loopback(host: str) -> bool:
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def keys_unavailable() -> Problem:
    """Make the problem of a token while no key to verify it was ever read (503)."""
    return Problem(
        status=503,
        name="keys-unavailable",
        title="Tokens cannot be verified now",
        detail="the keys that tokens are verified with could not be read yet",
        headers={"Retry-After": "5"},
    )
