"""The published keys of an issuer: a JWK set (RFC 7517), refreshed in the background.

`JwksClient.run()` reads the set at the start, every `REFRESH_INTERVAL`, and when a
token names a key that the set lacks. A failed read keeps the keys and is retried with
backoff; so is a set without a usable key, which would sign every user out. A successful
read replaces all keys: a key that the issuer has removed no longer verifies a token. A
request with an unknown key waits `REFRESH_WAIT` for the
read, and such requests cause at most one read per `MIN_REQUEST_INTERVAL`.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from math import inf
from random import random
from typing import final

import trio

from roundel_adapters.wakeup import Wakeup

from ..addresses import is_loopback
from .errors import KeysUnavailable
from .jwk_set import (
    EXPECTED_KEY,
    Claims,
    JwksError,
    JwkSet,
    VerificationKey,
    parse_jwk_set,
    parse_token,
)
from .jwks_fetch import fetch
from .verified_tokens import VerifiedTokenCache

log: logging.Logger = logging.getLogger(__name__)

REFRESH_INTERVAL = 300.0
"""Seconds between two scheduled reads of the set."""

MAX_BACKOFF = 60.0
"""Maximum delay before a failed read is retried, in seconds; the minimum is 1."""

MIN_REQUEST_INTERVAL = 10.0
"""Minimum interval between two reads that unknown keys cause, in seconds."""

STALE_AFTER = 60.0
"""Time for which reads have to fail until that is a warning, in seconds."""

REFRESH_WAIT = 5.0
"""Maximum time that a token with an unknown key waits for a read, in seconds."""


@final
class JwksClient:
    """Verifies tokens with the keys at *source*: a path or URL of `check_source()`.

    `run()` must run in the background. *is_loaded* is true after a set with at least
    one key has been read. *random* spreads the retries of several processes.
    """

    def __init__(self, source: str, *, random: Callable[[], float] = random) -> None:
        self.source = source
        self.is_loaded: bool = False
        self._read_at = 0.0
        self._failing_since = inf
        self._failure = ""
        self._random = random
        self._key_set = JwkSet()
        self._content = b""
        self._verified = VerifiedTokenCache()
        self._refresh_requested = trio.Event()
        self._requested_at = -inf
        self._refreshed = Wakeup()

    @property
    def age(self) -> float:
        """Seconds since the set was read, or since the start before the first read."""
        return trio.current_time() - self._read_at

    @property
    def warning(self) -> str | None:
        """Why the keys are old, if reads have failed for `STALE_AFTER` seconds."""
        is_stale = trio.current_time() >= self._failing_since + STALE_AFTER
        if not self.is_loaded or not is_stale:
            return None
        return f"the keys are {self.age:.0f} s old; the last read: {self._failure}"

    async def verify(self, token: str) -> Claims:
        """Return the claims of a *token* that one of the keys signed.

        Raises `JoseError`, `ValueError`, `TypeError` or `RecursionError` for others,
        and `KeysUnavailable` until a key has been loaded.
        """
        claims = self._verified.get(token)
        if claims is None:
            parsed = parse_token(token)
            claims = parsed.verify(await self._matching_keys(parsed.kid))
            self._verified.add(token, claims)
        return claims

    async def _matching_keys(self, kid: str | None) -> list[VerificationKey]:
        keys = self._key_set.named(kid)
        if not keys:
            await self._request_refresh()
            keys = self._key_set.named(kid)
        if not self.is_loaded:
            raise KeysUnavailable
        return keys

    async def _request_refresh(self) -> None:
        """Request a read and wait for it, unless one was requested recently."""
        if not self._refresh_requested.is_set():
            if trio.current_time() < self._requested_at + MIN_REQUEST_INTERVAL:
                return
            self._requested_at = trio.current_time()
            self._refresh_requested.set()
        with trio.move_on_after(REFRESH_WAIT):
            await self._refreshed.wait()

    async def reload(self) -> bool:
        """Read the set now; return whether it has another content than before."""
        before = self._content
        self._refresh_requested.set()
        with trio.move_on_after(REFRESH_WAIT):
            await self._refreshed.wait()
        return self._content != before

    async def run(
        self, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED
    ) -> None:
        """Refresh the keys until cancelled; started after the first read or failure."""
        self._read_at = trio.current_time()
        failures = 0 if await self._refresh() else 1
        task_status.started()
        while True:
            with trio.move_on_after(self._refresh_delay(failures)):
                await self._refresh_requested.wait()
            failures = 0 if await self._refresh() else failures + 1

    def _refresh_delay(self, failures: int) -> float:
        if not failures:
            return REFRESH_INTERVAL
        longest = min(MAX_BACKOFF, 2.0 ** min(failures, 10))
        return 1 + self._random() * (longest - 1)

    async def _refresh(self) -> bool:
        """Read the set; return whether that succeeded."""
        try:
            content = await fetch(self.source)
            self._replace(parse_jwk_set(content))
            self._content = content
        except JwksError as error:
            log.warning("ROUNDEL_JWKS could not be read: %s", error)
            self._failure = str(error)
            self._failing_since = min(self._failing_since, trio.current_time())
            return False
        finally:
            self._refresh_requested = trio.Event()
            self._refreshed.notify()
        return True

    def _replace(self, key_set: JwkSet) -> None:
        # Logged once, not at each read: a set may have keys for other purposes.
        for kid in key_set.ignored - self._key_set.ignored:
            log.warning("ROUNDEL_JWKS: key %s ignored: expected %s", kid, EXPECTED_KEY)
        self.is_loaded = True
        self._read_at, self._failing_since = trio.current_time(), inf
        self._key_set = key_set
        self._verified = VerifiedTokenCache()


def check_source(text: str) -> str:
    """Return *text* if keys can be read from it securely, or raise `ValueError`.

    Allowed are the path of a file, an https URL, and an http URL of loopback: an
    attacker that changes keys in transit could act as any user. A URL must have no
    password.
    """
    if text and "://" not in text:
        return text
    # The parser that will request it; imported for a URL only, since it takes 11 ms.
    import httpx2

    try:
        url = httpx2.URL(text)
    except httpx2.InvalidURL:
        url = httpx2.URL()
    is_safe = url.scheme == "https" or (url.scheme == "http" and is_loopback(url.host))
    if not is_safe or not url.host or url.userinfo:
        raise ValueError("expected a path, an https URL, or an http URL of loopback")
    return text
