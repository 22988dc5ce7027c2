"""Tickets: short-lived credentials that open one stream from a URL.

A browser's `EventSource` cannot send a header, and URLs appear in logs. A ticket is
therefore limited in three ways: it opens only streams, it opens a new stream only for
`TICKET_TTL` seconds, and only once. To reopen its stream, a client needs the *resume
key* as well, which the ticket does not contain. Only the cursors of that stream carry
it, so only the client that read the stream can reopen it.

Tickets are signed tokens, and no process stores them. Both keys of a ticket are derived
from the random secret of the store: all nodes accept the same tickets. They are not
derived from a producer key: a ticket is in the hands of a user, who could then try a
dictionary of keys against its signature.
"""

from __future__ import annotations

import hmac
import secrets
import time
from base64 import urlsafe_b64encode
from collections.abc import Awaitable, Callable
from functools import lru_cache
from hashlib import blake2b
from typing import TYPE_CHECKING, TypeAlias, final

import attrs

from . import jose
from .errors import InvalidCredentials

if TYPE_CHECKING:
    from joserfc.jwk import OctKey

TICKET_TTL = 60.0
"""Seconds in which a ticket can open its stream for the first time."""

DEFAULT_SESSION = 3_600.0
"""Seconds in which a producer's ticket reopens its stream, by default."""

MAX_SESSION = 86_400
"""Maximum session of a producer's ticket, in seconds."""


@final
@attrs.frozen(kw_only=True, repr=False)
class Ticket:
    """The content of a valid ticket, which may have been used; times are Unix times.

    The ticket opens a stream until *first_use_until*, and reopens it until
    *expires_at*. *issued_at* is that of the credentials that requested the ticket.
    *resume_key* is 1 to 32 of ``A-Z a-z 0-9 _ -``.
    """

    id: str
    user: str
    first_use_until: float
    expires_at: float
    issued_at: float
    resume_key: str

    def matches_resume_key(self, key: str | None) -> bool:
        """Return whether *key*, of a cursor, is the resume key of this ticket."""
        # As bytes: `compare_digest()` accepts only ASCII text, and cursors are
        # untrusted.
        presented = (key or "").encode(errors="surrogatepass")
        return hmac.compare_digest(presented, self.resume_key.encode())


SecretSource: TypeAlias = Callable[[], Awaitable[bytes]]
"""Returns the secret of the store; it may raise an error of the engine."""


@final
@attrs.frozen(kw_only=True, repr=False)
class Tickets:
    """Issues and verifies tickets; *clock* returns seconds since 1970.

    The *secret* is read for each ticket, so that a new one counts at once.
    """

    secret: SecretSource
    clock: Callable[[], float] = time.time

    async def issue(self, user: str, *, expires_at: float, issued_at: float) -> str:
        """Return a new ticket for *user*, on credentials with these times."""
        claims = {
            "jti": secrets.token_urlsafe(16),
            "sub": user,
            "opens": min(self.clock() + TICKET_TTL, expires_at),
            "holds": expires_at,
            "iat": issued_at,
        }
        key = _derive(await self.secret())
        return jose.jwt.encode({"alg": "HS256"}, claims, key.signing_key)

    async def verify(self, text: str) -> Ticket:
        """Return the ticket in *text*; the caller checks `first_use_until`.

        Raises `InvalidCredentials` if it was not issued here or has expired.
        """
        ticket = _derive(await self.secret()).verify(text)
        if ticket is None:
            raise InvalidCredentials("the ticket was not issued by this service")
        if ticket.expires_at <= self.clock():
            raise InvalidCredentials("the ticket has expired")
        return ticket


@final
@attrs.frozen(repr=False)
class _TicketKey:
    """Holds the two keys that are derived from one secret."""

    signing_key: OctKey
    resume_secret: bytes

    def verify(self, text: str) -> Ticket | None:
        """Return the ticket if this key signed it."""
        try:
            # The claims need no checks: only `issue()` signs with this key.
            token = jose.jwt.decode(text, self.signing_key, algorithms=["HS256"])
        except (jose.JoseError, ValueError, TypeError, RecursionError):
            return None
        claims = token.claims
        return Ticket(
            id=claims["jti"],
            user=claims["sub"],
            first_use_until=claims["opens"],
            expires_at=claims["holds"],
            issued_at=claims["iat"],
            resume_key=self._resume_key(claims["jti"]),
        )

    def _resume_key(self, ticket_id: str) -> str:
        secret = self.resume_secret
        digest = blake2b(ticket_id.encode(), key=secret, digest_size=16).digest()
        return urlsafe_b64encode(digest).decode().rstrip("=")


@lru_cache(maxsize=8)
def _derive(secret: bytes) -> _TicketKey:
    signing = blake2b(secret, digest_size=32, person=b"roundel.ticket").digest()
    resume = blake2b(secret, digest_size=32, person=b"roundel.resume").digest()
    return _TicketKey(jose.jwk.OctKey.import_key(signing), resume)


def process_secret() -> SecretSource:
    """Return the source of a new random secret, for a process without a store."""
    secret = secrets.token_bytes(32)

    async def read() -> bytes:
        return secret

    return read
