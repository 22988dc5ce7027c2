"""The client half of a connection: what an EventSource does (WHATWG HTML 9.2.2-9.2.3).

A source is told what its transport met, and says what to request, which events came
and when to act next. The machine is the table `TRANSITIONS`; the methods name inputs.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable
from math import inf
from typing import final

from ._errors import LocalProtocolError, RemoteProtocolError
from ._event import Event
from ._headers import MEDIA_TYPE
from ._parser import Parser
from ._source_states import TRANSITIONS, Input, State

MAX_HEADER_ID = 4096
"""The longest id that is sent: half of what common servers take for all headers."""


@final
class Source:
    """One subscription to a stream, over as many connections as it takes.

    Make the request while `state` is CONNECTING, tell what came of it, and call
    `handle_timeout()` by `deadline`; calling it early or twice changes nothing.
    When the state leaves CONNECTING and OPEN, the connection is to be dropped. What
    a peer does never raises: at worst the source is CLOSED, and `reason` says why.

    After a loss it waits for the reconnection time and a random part of a span that
    doubles with each connection that was lost before *stable_after*.

    Args:
        now: Seconds, of the clock that every later *now* is of.
        random: Draws from [0, 1).
        last_event_id: Where to resume, if you have kept it.
        retry: The reconnection time in milliseconds, until the peer sets another.
        min_retry: The least of the peer's that is honoured, in milliseconds.
        max_retry: The most of the peer's that is honoured, in milliseconds.
        max_backoff: The most seconds that are waited beyond the reconnection time.
        stable_after: For how many seconds a stream must have been open for its loss
            to be no failure.
        idle_timeout: After how many seconds without a byte a peer is taken for dead.
        retry_statuses: Statuses to come back after. None, for a browser: there all
            but 200 are final. A client of its own may add 429, 502, 503 and 504.
        max_event_size: The bound of `Parser`. To cross it is final, since the event
            would come again with each connection.
    """

    __slots__ = (
        "_failures", "_idle_timeout", "_max_backoff", "_max_event_size", "_opened",
        "_parser", "_random", "_retry", "_retry_range", "_retry_statuses",
        "_stable_after", "deadline", "reason", "state",
    )  # fmt: skip

    state: State
    deadline: float
    """When to call `handle_timeout()`; ``-inf`` when it is over."""
    reason: str
    """Why the last connection was lost, or why it is over; empty while all is well."""

    def __init__(
        self,
        *,
        now: float,
        random: Callable[[], float],
        last_event_id: str = "",
        retry: int = 3_000,
        min_retry: int = 100,
        max_retry: int = 600_000,
        max_backoff: float = 60.0,
        stable_after: float = 5.0,
        idle_timeout: float = inf,
        retry_statuses: Collection[int] = (),
        max_event_size: int = 1 << 20,
    ) -> None:
        if not 0 < min_retry <= max_retry or retry < 0:
            raise LocalProtocolError("expected 0 < min_retry <= max_retry, retry >= 0")
        if max_backoff < 0 or stable_after < 0 or idle_timeout <= 0:
            raise LocalProtocolError("expected times of 0 or more, a timeout above 0")
        self._random = random
        self._retry, self._retry_range = retry, (min_retry, max_retry)
        self._max_backoff, self._stable_after = max_backoff, stable_after
        self._idle_timeout = idle_timeout
        self._retry_statuses = frozenset(retry_statuses)
        self._max_event_size = max_event_size
        self._parser = Parser(last_event_id, max_event_size=max_event_size)
        self._failures = 0
        self._opened = inf
        self.state = State.CONNECTING
        self.deadline = now + idle_timeout
        self.reason = ""

    @property
    def last_event_id(self) -> str:
        """Where the next connection resumes; keep it if you mean to go on later."""
        return self._parser.last_event_id

    @property
    def retry(self) -> int:
        """The reconnection time in milliseconds, within its bounds."""
        least, most = self._retry_range
        return min(max(self._retry, least), most)

    def request_headers(self) -> list[tuple[str, str]]:
        """Return what the request is to carry, beside your own.

        An id travels if it is printable ASCII of at most 4096 characters without a
        space at either end. Any other is left out: it must not keep one from coming
        back, or a peer could end a subscription by sending it.
        """
        # WPT request-accept, request-cache-control: this is what is on the wire.
        headers = [("Accept", MEDIA_TYPE), ("Cache-Control", "no-cache")]
        if _is_header_safe(self.last_event_id):
            headers.append(("Last-Event-ID", self.last_event_id))
        return headers

    def receive_response(
        self, status: int, headers: Iterable[tuple[str, str]], *, now: float
    ) -> None:
        """Take the head of the response, after whatever redirects led to it."""
        reason = _rejection_reason(status, headers)
        if not reason:
            self.state = self._after(Input.ACCEPT, "receive_response")
            self._parser = Parser(
                self.last_event_id, max_event_size=self._max_event_size
            )
            self._opened, self.deadline = now, now + self._idle_timeout
            self.reason = ""
        elif status in self._retry_statuses:
            self._lose(Input.DEFER, "receive_response", reason, now)
        else:
            self._fail(Input.REFUSE, "receive_response", reason)

    def receive_data(self, data: bytes, *, now: float) -> list[Event]:
        """Take bytes of the body and give the events they complete."""
        self.state = self._after(Input.DATA, "receive_data")
        self.deadline = now + self._idle_timeout
        events: list[Event] = []
        try:
            events = self._parser.receive_data(data)
            if events:
                # A crossing behind them would not show before the next byte.
                self._parser.receive_data(b"")
        except RemoteProtocolError as error:
            self._fail(Input.BREAK, "receive_data", str(error))
        if self._parser.retry is not None:
            self._retry = self._parser.retry
        return events

    def receive_eof(self, *, now: float) -> None:
        """Take the end of the body: however clean it is, one comes back."""
        self._lose(Input.LOSS, "receive_eof", "the stream ended", now)

    def receive_error(self, *, now: float) -> None:
        """Take a failure of the network, before or behind the response's head."""
        self._lose(Input.LOSS, "receive_error", "the network failed", now)

    def handle_timeout(self, now: float) -> None:
        """Do what is due by *now*, if anything is."""
        if now < self.deadline:
            return
        match self._after(Input.TIMEOUT, "handle_timeout"):
            case State.WAITING:
                reason = f"nothing was received for {self._idle_timeout} seconds"
                self._lose(Input.TIMEOUT, "handle_timeout", reason, now)
            case State.CONNECTING:
                self.state = State.CONNECTING
                self.deadline = now + self._idle_timeout

    def close(self) -> None:
        """End it for good; the first reason is kept."""
        if self.state is not State.CLOSED:
            self._fail(Input.CLOSE, "close", "closed")

    def _after(self, what: Input, method: str) -> State:
        try:
            return TRANSITIONS[self.state, what]
        except KeyError:
            raise LocalProtocolError(
                f"{method}: not possible while {self.state.name}"
            ) from None

    def _lose(self, what: Input, method: str, reason: str, now: float) -> None:
        self.state = self._after(what, method)
        stable = now - self._opened >= self._stable_after
        self._failures = 0 if stable else self._failures + 1
        self._opened = inf
        self.reason = reason
        self.deadline = now + self._delay()

    def _fail(self, what: Input, method: str, reason: str) -> None:
        self.state = self._after(what, method)
        self.deadline = -inf
        self.reason = reason

    def _delay(self) -> float:
        """Draw a delay: never less than the reconnection time (WHATWG HTML 9.2.3)."""
        retry = self.retry / 1000
        # Even the first return is spread, since a restart loses all readers at once.
        span = min(retry * 2.0 ** min(self._failures, 64), self._max_backoff)
        return retry + self._random() * span


def _rejection_reason(status: int, headers: Iterable[tuple[str, str]]) -> str:
    """Return what keeps a response from being an event stream, or nothing."""
    if status != 200:
        return f"expected status 200, got {status}"
    kind = ""
    for name, value in headers:
        if name.lower() == "content-type":
            kind = value
    if kind.partition(";")[0].strip(" \t").lower() != MEDIA_TYPE:
        return f"expected content type {MEDIA_TYPE}, got {kind[:100]!r}"
    return ""


def _is_header_safe(value: str) -> bool:
    """Tell whether *value* arrives as it is, whoever carries it as a header."""
    # A browser sends UTF-8; HTTP libraries refuse it or disagree on how to write it.
    plain = value.isascii() and value.isprintable() and value == value.strip(" ")
    return plain and 0 < len(value) <= MAX_HEADER_ID
