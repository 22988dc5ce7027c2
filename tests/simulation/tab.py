"""A browser tab: an EventSource, its page, and a connection without sockets."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from contextlib import AbstractContextManager
from math import inf
from random import Random
from typing import Protocol, final

from roundel import Event, Source, State, read_last_event_id, stream_headers
from roundel_service.engines.base import EngineUnavailable
from roundel_service.streams.hub import Hub
from roundel_service.streams.subscribe import SubscribeRequest

from .page import Page

_STATES = (b"event: badge\n", b"event: snapshot\n", b"event: change\n")

MAX_IN_FLIGHT = 4
"""Maximum number of chunks in flight."""

IDLE_TIMEOUT = 62.5
"""Timeout in seconds after which a page considers a silent connection dead."""


class ServerStream(Protocol):
    """The interface of the stream that a tab reads."""

    @property
    def is_open(self) -> bool:
        """False after the close message was written."""
        ...

    def data_to_send(self, now: float) -> list[bytes]:
        """Return the chunks to write now."""
        ...

    def close(self) -> None:
        """Close the stream without a message."""
        ...


@final
class Tab:
    """One tab of *user*; *wrap_stream* may wrap its stream.

    *applied* is called after each event that the page applied. *loss* is the
    probability that a state is lost while the connection stays open.
    """

    def __init__(
        self,
        user: str,
        page: Page,
        *,
        random: Random,
        applied: Callable[[Tab, Event], None],
        wrap_stream: Callable[[ServerStream], ServerStream],
        loss: float,
    ) -> None:
        self.page = page
        self.loss = loss
        self.is_online = True
        self._user = user
        self._random = random
        self._applied = applied
        self._wrap_stream = wrap_stream
        self._in_flight: deque[bytes | None] = deque()
        self._stream: ServerStream | None = None
        self._lease: AbstractContextManager[None] | None = None
        self.source = self._new_source(-inf)

    def _new_source(self, now: float, last_event_id: str = "") -> Source:
        return Source(
            now=now,
            random=lambda: self._random.getrandbits(4) / 16,
            last_event_id=last_event_id,
            max_backoff=4.0,
            idle_timeout=IDLE_TIMEOUT,
        )

    @property
    def is_quiet(self) -> bool:
        """Return whether the stream is open and nothing is in flight."""
        is_served = self._stream is not None and self._stream.is_open
        return is_served and self.source.state is State.OPEN and not self._in_flight

    async def connect(self, hub: Hub, now: float) -> None:
        """Run everything that is due at *now*, including a reconnect."""
        self.source.handle_timeout(now)
        if self.source.state is not State.OPEN:
            self._drop_connection()
        if self.source.state is State.CONNECTING:
            if self.is_online:
                await self._open(hub, now)
            else:
                self.source.receive_error(now=now)

    async def _open(self, hub: Hub, now: float) -> None:
        field = dict(self.source.request_headers()).get("Last-Event-ID")
        try:
            channel = await hub.channel(self._user)
        except EngineUnavailable:
            self.source.receive_error(now=now)
            return
        request = SubscribeRequest(last_event_id=read_last_event_id(field))
        subscriber = hub.subscribe(channel, self.page.view, request)
        self._lease = hub.lease(subscriber)
        self._lease.__enter__()
        self._stream = self._wrap_stream(subscriber)
        self.source.receive_response(200, stream_headers(), now=now)

    def write(self, now: float) -> None:
        """Run the server's driver: drain, then sleep."""
        while self._stream is not None and len(self._in_flight) < MAX_IN_FLIGHT:
            if chunks := self._stream.data_to_send(now):
                self._in_flight += chunks
            elif self._stream.is_open:
                return
            else:
                self._in_flight.append(None)
                self._end_stream()

    def read(self, limit: int, now: float) -> None:
        """Deliver up to a number of chunks to the page."""
        for _ in range(limit):
            if not self._in_flight or self.source.state is not State.OPEN:
                return
            chunk = self._in_flight.popleft()
            if chunk is None:
                self.source.receive_eof(now=now)
            elif not self._is_lost(chunk):
                self._receive(chunk, now)

    def _is_lost(self, chunk: bytes) -> bool:
        is_state = chunk.startswith(_STATES)
        return is_state and self.loss > 0 and self._random.random() < self.loss

    def _receive(self, chunk: bytes, now: float) -> None:
        for event in self.source.receive_data(chunk, now=now):
            if not self.page.apply(event):
                self._drop_connection()
                self.source = self._new_source(now)
                return
            self._applied(self, event)

    def disconnect(self, now: float, *, silently: bool) -> None:
        """Lose the connection, perhaps within an event, and all chunks after it."""
        chunk = self._in_flight[0] if self._in_flight else None
        self._drop_connection()
        self.is_online = False
        if self.source.state is State.OPEN and not silently:
            if chunk and self._random.random() < 0.5:
                self.source.receive_data(chunk[: len(chunk) // 2], now=now)
            self.source.receive_error(now=now)

    def end_by_server(self) -> None:
        """Lose the server; the chunks in flight may still arrive."""
        if self._stream is not None:
            self._in_flight.append(None)
            self._end_stream()

    def close(self) -> None:
        """Close the tab."""
        self._drop_connection()

    def _drop_connection(self) -> None:
        self._in_flight.clear()
        self._end_stream()

    def _end_stream(self) -> None:
        stream, self._stream = self._stream, None
        lease, self._lease = self._lease, None
        if stream is not None and lease is not None:
            stream.close()
            lease.__exit__(None, None, None)
