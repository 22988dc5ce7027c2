"""The client half of a connection: an EventSource (WHATWG HTML 9.2.2-9.2.3).

A driver reports what its transport met, each by a method. The source returns events,
and its attributes tell the driver what to do: `state` and `deadline`. The state machine
is the table `TRANSITIONS`; each method is one or two of its inputs.

After a lost connection the source waits for the reconnection time plus a random part
of a span. The span is a quarter of the reconnection time at first: a restarted server
loses all its subscribers at once. It is twice that time at the second failure, doubles
with each further one up to *max_backoff*, and is reset by a connection that stayed open
for *stable_after* seconds.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable
from math import inf
from typing import final

import attrs

from ._errors import LocalProtocolError, RemoteProtocolError
from ._event import Event
from ._headers import MEDIA_TYPE, retry_after
from ._parser import Parser
from ._source_states import TRANSITIONS, Input, State

MAX_HEADER_ID = 4096
"""Longest id to send, in bytes: half of what common servers accept for all headers."""


@final
@attrs.define(eq=False, kw_only=True)
class Source:
    """A subscription to one URL, over any number of connections.

    A driver makes the request while `state` is CONNECTING, reports the response and its
    body, and calls `handle_timeout()` at `deadline`; an early or repeated call changes
    nothing. It drops the connection when the state is neither CONNECTING nor OPEN. No
    behaviour of a peer raises: at worst the source is CLOSED, and `reason` says why.

    Args:
        now: Time in seconds, of the same clock as every later *now*.
        random: Draws from [0, 1).
        last_event_id: The id at which to resume.
        retry: Reconnection time in milliseconds, until the peer sets another.
        min_retry: Lower bound of the reconnection time in milliseconds.
        max_retry: Upper bound of the reconnection time in milliseconds.
        max_backoff: Longest random part of a delay in seconds.
        stable_after: Seconds after which the loss of an open stream is no failure.
        idle_timeout: Seconds without a byte after which the connection is lost.
        retry_statuses: Statuses after which the source reconnects. Empty as in a
            browser, where all but 200 are final; 429, 502, 503 and 504 are candidates.
            A ``Retry-After`` of such a response delays that, up to *max_retry*.
        max_event_size: The bound of `Parser`. An event over it closes the source,
            because the peer would send it again on each connection.
        with_comments: Whether to collect `comments`.
    """

    deadline: float = attrs.field(alias="now")
    """When to call `handle_timeout()`; ``-inf`` in state CLOSED."""
    # Pyright knows no aliases but explicit ones.
    _random: Callable[[], float] = attrs.field(alias="random")
    last_event_id: str = ""
    """The id that the next request presents."""
    _retry: int = attrs.field(default=3_000, alias="retry")
    _min_retry: int = attrs.field(default=100, alias="min_retry")
    _max_retry: int = attrs.field(default=600_000, alias="max_retry")
    _max_backoff: float = attrs.field(default=60.0, alias="max_backoff")
    _stable_after: float = attrs.field(default=5.0, alias="stable_after")
    _idle_timeout: float = attrs.field(default=inf, alias="idle_timeout")
    _retry_statuses: Collection[int] = attrs.field(default=(), alias="retry_statuses")
    _max_event_size: int = attrs.field(default=1 << 20, alias="max_event_size")
    _with_comments: bool = attrs.field(default=False, alias="with_comments")
    state: State = attrs.field(default=State.CONNECTING, init=False)
    reason: str = attrs.field(default="", init=False)
    """Why the last connection ended or the source is closed; empty while OPEN."""
    comments: list[str] = attrs.field(factory=list, init=False)
    """The comments of the latest `receive_data()`, with *with_comments*."""
    _parser: Parser = attrs.field(init=False)
    _failures: int = attrs.field(default=0, init=False)
    _opened_at: float = attrs.field(default=inf, init=False)

    def __attrs_post_init__(self) -> None:
        if not 0 < self._min_retry <= self._max_retry or self._retry < 0:
            raise LocalProtocolError("expected 0 < min_retry <= max_retry, retry >= 0")
        if min(self._max_backoff, self._stable_after) < 0 or self._idle_timeout <= 0:
            raise LocalProtocolError("expected times of 0 or more, a timeout above 0")
        self._parser = self._new_parser()
        self.deadline += self._idle_timeout

    def _new_parser(self) -> Parser:
        return Parser(
            self.last_event_id,
            max_event_size=self._max_event_size,
            comments=self._with_comments,
        )

    @property
    def retry(self) -> int:
        """The reconnection time in milliseconds, between its bounds."""
        return min(max(self._retry, self._min_retry), self._max_retry)

    def request_headers(self, *, utf_8: bool = False) -> list[tuple[str, str]]:
        """Return the request's headers, to add to the driver's own.

        The id is sent if it is printable ASCII of at most 4096 characters without a
        space at either end; with *utf_8* if it is any printable text of that length.
        Any other id is left out: the request would fail, so that a peer could end a
        subscription by sending it.

        Args:
            utf_8: Whether the driver sends values in UTF-8, as browsers do. By default
                HTTP libraries reject other characters, or encode them differently.
        """
        # As browsers send them (WPT request-accept, request-cache-control).
        headers = [("Accept", MEDIA_TYPE), ("Cache-Control", "no-cache")]
        value = self.last_event_id
        is_encodable = utf_8 or value.isascii()
        is_plain = value.isprintable() and value == value.strip(" ")
        if is_encodable and is_plain and 0 < len(value) <= MAX_HEADER_ID:
            headers.append(("Last-Event-ID", value))
        return headers

    def receive_response(
        self, status: int, headers: Iterable[tuple[str, str]], *, now: float
    ) -> None:
        """Report the head of the response, after all redirects."""
        headers = list(headers)
        reason = _rejection_reason(status, headers)
        if not reason:
            self.state = self._next_state(Input.ACCEPT)
            self._parser = self._new_parser()
            self._opened_at, self.deadline = now, now + self._idle_timeout
            self.reason = ""
        elif status in self._retry_statuses:
            self._reconnect_later(Input.RETRY, reason, now)
            # RFC 9110 10.2.3: both forms are the earliest time of the next request.
            wait = min(retry_after(headers), self._max_retry / 1000)
            self.deadline = max(self.deadline, now + wait)
        else:
            self._close_for(Input.REJECT, reason)

    def receive_data(self, data: bytes, *, now: float) -> list[Event]:
        """Report bytes of the body; return the events that they complete."""
        self.state = self._next_state(Input.DATA)
        self.deadline = now + self._idle_timeout
        events: list[Event] = []
        self.comments = []
        try:
            events = self._parser.receive_data(data)
            self.comments = [*self._parser.comments]
            if events:
                # The parser raises for an oversized event after them by the next call.
                self._parser.receive_data(b"")
        except RemoteProtocolError as error:
            self._close_for(Input.OVERFLOW, str(error))
        self.last_event_id = self._parser.last_event_id
        if self._parser.retry is not None:
            self._retry = self._parser.retry
        return events

    def receive_eof(self, *, now: float) -> None:
        """Report the end of the body; the source reconnects even if it is clean."""
        self._reconnect_later(Input.DISCONNECT, "the stream ended", now)

    def receive_error(self, reason: str = "the network failed", *, now: float) -> None:
        """Report a network error, before or after the response's head."""
        self._reconnect_later(Input.DISCONNECT, reason, now)

    def handle_timeout(self, now: float) -> None:
        """Handle a passed `deadline`: a lost connection, or the time to reconnect."""
        if now < self.deadline:
            return
        match self._next_state(Input.TIMEOUT):
            case State.WAITING:
                reason = f"nothing was received for {self._idle_timeout} seconds"
                self._reconnect_later(Input.TIMEOUT, reason, now)
            case State.CONNECTING:
                self.state = State.CONNECTING
                self.deadline = now + self._idle_timeout

    def close(self, reason: str = "closed") -> None:
        """Close the source; the first reason is kept."""
        if self.state is not State.CLOSED:
            self._close_for(Input.CLOSE, reason)

    def _next_state(self, received: Input) -> State:
        try:
            return TRANSITIONS[self.state, received]
        except KeyError:
            raise LocalProtocolError(f"not possible while {self.state.name}") from None

    def _reconnect_later(self, received: Input, reason: str, now: float) -> None:
        self.state = self._next_state(received)
        was_stable = now - self._opened_at >= self._stable_after
        self._failures = 0 if was_stable else self._failures + 1
        self._opened_at = inf
        self.reason = reason
        retry = self.retry / 1000
        backoff = 2.0 ** min(self._failures - 1, 64) if self._failures > 1 else 0.25
        span = min(retry * backoff, self._max_backoff)
        # WHATWG HTML 9.2.3: the delay is at least the reconnection time.
        self.deadline = now + retry + self._random() * span

    def _close_for(self, received: Input, reason: str) -> None:
        self.state = self._next_state(received)
        self.deadline = -inf
        self.reason = reason


def _rejection_reason(status: int, headers: Iterable[tuple[str, str]]) -> str:
    """Return why a response is not an event stream, or the empty string."""
    if status != 200:
        return f"expected status 200, got {status}"
    media_type = ""
    for name, value in headers:
        if name.lower() == "content-type":
            media_type = value
    if media_type.partition(";")[0].strip(" \t").lower() != MEDIA_TYPE:
        return f"expected content type {MEDIA_TYPE}, got {media_type[:100]!r}"
    return ""
