"""Tickets: what opens one stream in the place of a proof that no URL may carry.

Native `EventSource` cannot send a header, and a URL ends up in logs. So a ticket is
short-lived, opens nothing but a stream, and after its first use is worth nothing
without a *resume key* that it does not contain: only the reader of its stream, whose
cursors carry that key, can open the stream again.
"""

from __future__ import annotations

import hmac
import secrets
import time
from base64 import urlsafe_b64encode
from collections.abc import Callable, Sequence
from functools import cached_property
from hashlib import blake2b
from typing import Any, final

import attrs
from joserfc import jwt
from joserfc.errors import JoseError
from joserfc.jwk import OctKey

from ..http.problems import unauthorized

TICKET_TTL = 60.0
"""For how many seconds a ticket can be used first."""

SESSION = 3_600.0
"""For how many seconds it reopens its stream, if whoever asks for it does not say."""

MAX_SESSION = 86_400
"""For how many seconds it may be asked to."""


@final
@attrs.frozen(kw_only=True, repr=False)
class Ticket:
    """What a good ticket says; whether it was used already is for others to know.

    It opens a stream first until *opens_until*, and that stream again until
    *holds_until*, when the proof behind it is over. *issued_at* is that proof's too.
    All are seconds since 1970. *resume_key* is 1 to 32 of ``A-Z a-z 0-9 _ -``.
    """

    id: str
    user: str
    opens_until: float
    holds_until: float
    issued_at: float
    resume_key: str

    def reopens(self, cursor_key: str | None) -> bool:
        """Tell whether a cursor with this key is of a stream that the ticket opened."""
        # As bytes: the cursor is untrusted, and of text only ASCII can be compared.
        presented = (cursor_key or "").encode(errors="surrogatepass")
        return hmac.compare_digest(presented, self.resume_key.encode())


@final
@attrs.frozen(kw_only=True, repr=False)
class Tickets:
    """Issues tickets and reads them, by keys that are derived from *producer_keys*.

    So all processes that share those share the tickets, over restarts as well. The
    first key signs and each one verifies: keys are rotated by having two for a while.
    *clock* returns seconds since 1970.
    """

    producer_keys: Sequence[str]
    clock: Callable[[], float] = time.time

    def issue(self, user: str, *, holds_until: float, issued_at: float) -> str:
        """Return a new ticket for *user*, for a proof that holds until then."""
        claims = {
            "jti": secrets.token_urlsafe(16),
            "sub": user,
            "opens": min(self.clock() + TICKET_TTL, holds_until),
            "holds": holds_until,
            "iat": issued_at,
        }
        return jwt.encode({"alg": "HS256"}, claims, self._keys[0].signing)

    def read(self, text: str) -> Ticket:
        """Return the ticket that *text* is, or was: `opens_until` is not checked.

        Raises a 401 `Problem` if it is none of ours, or can reopen nothing any more.
        """
        for key in self._keys:
            ticket = key.read(text)
            if ticket is not None:
                break
        else:
            raise unauthorized("the ticket is none that this service has issued")
        if ticket.holds_until <= self.clock():
            raise unauthorized("the ticket is over")
        return ticket

    @cached_property
    def _keys(self) -> tuple[_TicketKey, ...]:
        return tuple(_derive(key) for key in self.producer_keys)


@final
@attrs.frozen(repr=False)
class _TicketKey:
    """Signs tickets and makes their resume keys, by two secrets that tell nothing."""

    signing: OctKey
    resuming: bytes

    def read(self, text: str) -> Ticket | None:
        """Return the ticket if this key has signed it."""
        try:
            token = jwt.decode(text, self.signing, algorithms=["HS256"])
        except (JoseError, ValueError, TypeError, RecursionError):
            return None
        return self._ticket(token.claims)

    def _ticket(self, claims: dict[str, Any]) -> Ticket:
        # Nobody else has the key, so the claims are what `issue()` has put there.
        return Ticket(
            id=claims["jti"],
            user=claims["sub"],
            opens_until=claims["opens"],
            holds_until=claims["holds"],
            issued_at=claims["iat"],
            resume_key=self._resume_key(claims["jti"]),
        )

    def _resume_key(self, ticket_id: str) -> str:
        told = blake2b(ticket_id.encode(), key=self.resuming, digest_size=16).digest()
        return urlsafe_b64encode(told).decode().rstrip("=")


def _derive(producer_key: str) -> _TicketKey:
    # Derived, so that a secret of users' tokens that is the same as a producer's key
    # does not make the one kind of token pass for the other.
    secret = producer_key.encode()
    signing = blake2b(secret, digest_size=32, person=b"roundel.ticket").digest()
    resuming = blake2b(secret, digest_size=32, person=b"roundel.resume").digest()
    return _TicketKey(OctKey.import_key(signing), resuming)
