"""The rules of a subscription over an HTTP library, without I/O.

A driver sends the request that `request()` makes, and reports what the library returns
or raises. The rules are the same for each driver: which error is a loss and which is
final, what is sent again, and what the caller is notified of.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from email.utils import formatdate
from typing import TYPE_CHECKING, TypeAlias, TypedDict, Unpack, cast, final

import attrs

from roundel import Event, Source, State

from .errors import StreamEnded, describe, is_loss, rejected_response

if TYPE_CHECKING:
    import httpx
    import httpx2

    AnyClient = httpx2.Client | httpx2.AsyncClient | httpx.Client | httpx.AsyncClient
    # Of either library: the methods and attributes used here are the same.
    AnyRequest = httpx2.Request
    AnyResponse = httpx2.Response

OnState: TypeAlias = Callable[[State, str, float], object]
OnComment: TypeAlias = Callable[[str], object]
Timeouts: TypeAlias = tuple[float | None, float | None, float | None, float | None]
"""To connect, read, write, and get a connection of the pool."""

_MAX_PORT = 65_535


class ReconnectOptions(TypedDict):
    """The arguments that a `Source` gets unchanged."""

    last_event_id: str
    retry: int
    min_retry: int
    max_retry: int
    max_backoff: float
    retry_statuses: Collection[int]
    max_event_size: int


@final
@attrs.define(eq=False)
class RequestOptions:
    """What each request of a subscription is made of."""

    client: AnyClient
    url: str
    method: str
    content: str | bytes | None
    headers: Callable[[], Mapping[str, str]]


@final
class HttpSource:
    """A `Source` whose requests and responses are those of an HTTP library."""

    def __init__(
        self,
        request: RequestOptions,
        *,
        now: Callable[[], float],
        idle_timeout: float,
        on_state: OnState,
        on_comment: OnComment | None,
        **options: Unpack[ReconnectOptions],
    ) -> None:
        self.now = now
        self.idle_timeout = idle_timeout
        self._request = request
        self._on_state = on_state
        self._on_comment = on_comment
        self._was_open = False
        self._status = 0
        self._source = Source(
            now=now(),
            random=random.random,
            idle_timeout=idle_timeout,
            with_comments=on_comment is not None,
            **options,
        )

    @property
    def state(self) -> State:
        return self._source.state

    @property
    def deadline(self) -> float:
        """When to call `handle_timeout()`."""
        return self._source.deadline

    @property
    def end(self) -> StreamEnded:
        """The error that ends an iterator of events, in state CLOSED."""
        return StreamEnded(self._source.reason, self._status)

    def request(
        self, *, timeout: Timeouts, extensions: Mapping[str, object] | None = None
    ) -> AnyRequest:
        """Make the next request."""
        options = self._request
        request = cast("httpx2.Client", options.client).build_request(
            options.method,
            options.url,
            content=options.content,
            headers=options.headers(),
            timeout=timeout,
            extensions=extensions and {**extensions},
        )
        # A header that is set replaces the caller's, and is sent in this encoding.
        request.headers.encoding = "utf-8"
        for name, value in self._source.request_headers(utf_8=True):
            request.headers[name] = value
        if (request.url.port or 0) > _MAX_PORT:
            # trio would connect to the remainder.
            raise ValueError(f"expected a port up to {_MAX_PORT}: {options.url}")
        return request

    def receive_response(self, response: AnyResponse) -> None:
        """Report the head of the response, after all redirects."""
        self._status = response.status_code
        headers = response.headers.multi_items()
        if "date" not in response.headers:
            # RFC 9110 6.6.1: a recipient with a clock adds it.
            headers.append(("Date", formatdate(usegmt=True)))
        self._source.receive_response(self._status, headers, now=self.now())
        if self.state is State.OPEN:
            self._was_open = True
            self.report()

    def receive_data(self, data: bytes | None) -> Iterable[Event]:
        """Report bytes of the body, or its end by None; return the events.

        Comments are reported between the events, while the result is iterated.
        """
        if self._source.state is not State.OPEN:
            return ()
        if data is None:
            self._source.receive_eof(now=self.now())
            return ()
        if self._on_comment is not None:
            return self._receive_lines(data, self._on_comment)
        return self._source.receive_data(data, now=self.now())

    def _receive_lines(self, data: bytes, on_comment: OnComment) -> Iterator[Event]:
        # `bytes.splitlines()` splits at CR, LF and CRLF only, as the format does.
        for line in data.splitlines(keepends=True):
            if self._source.state is not State.OPEN:
                return
            yield from self._source.receive_data(line, now=self.now())
            for comment in self._source.comments:
                on_comment(comment)

    def receive_error(self, error: Exception) -> bool:
        """Report an error of the library; return whether a reconnect may help."""
        if (response := rejected_response(error)) is not None:
            self.receive_response(response)
        elif not is_loss(error, was_open=self._was_open):
            self._source.close(describe(error))
            self.report()
            if not str(error):
                error.add_note(self._source.reason)
            return False
        else:
            self._source.receive_error(describe(error), now=self.now())
        return True

    def handle_timeout(self) -> None:
        """Report that the deadline, or the idle timeout of a wait, has passed.

        The source's deadline is the earlier of the two: it begins with the latest byte,
        and the wait begins when the caller has handled its event.
        """
        self._source.handle_timeout(max(self.now(), self._source.deadline))

    def report(self) -> None:
        """Call *on_state* with the current state."""
        source = self._source
        waits = source.state is State.WAITING
        delay = max(source.deadline - self.now(), 0.0) if waits else 0.0
        self._on_state(source.state, source.reason, delay)
