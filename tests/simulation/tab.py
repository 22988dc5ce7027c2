"""A browser tab: an EventSource, its page, and a connection without sockets."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from contextlib import AbstractContextManager
from math import inf
from random import Random
from typing import Protocol, final

from roundel import Event, Source, State, read_last_event_id, stream_headers
from roundel_service.streams.hub import Hub
from roundel_service.streams.subscribe import SubscribeRequest

from .page import Page

_STATES = (b"event: badge\n", b"event: snapshot\n", b"event: change\n")

ROOM = 4
"""Maximum number of chunks in flight."""

IDLE = 62.5
"""Timeout in seconds after which a page considers a silent connection dead."""


class Talker(Protocol):
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
    """One tab of *user*; *dress* may wrap the stream that it is served.

    *applied* is called after each event that the page applied; *loss* is how likely a
    state is lost on its way while the connection stays.
    """

    def __init__(
        self,
        user: str,
        page: Page,
        *,
        random: Random,
        applied: Callable[[Tab, Event], None],
        dress: Callable[[Talker], Talker],
        loss: float,
    ) -> None:
        self.page = page
        self.loss = loss
        self.is_up = True
        self._user = user
        self._random = random
        self._applied = applied
        self._dress = dress
        self._wire: deque[bytes | None] = deque()
        self._stream: Talker | None = None
        self._serving: AbstractContextManager[None] | None = None
        self.source = self._new_source(-inf)

    def _new_source(self, now: float, last_event_id: str = "") -> Source:
        return Source(
            now=now,
            random=lambda: self._random.getrandbits(4) / 16,
            last_event_id=last_event_id,
            max_backoff=4.0,
            idle_timeout=IDLE,
        )

    @property
    def is_quiet(self) -> bool:
        """Return whether the stream is open and nothing is in flight."""
        is_served = self._stream is not None and self._stream.is_open
        return is_served and self.source.state is State.OPEN and not self._wire

    async def connect(self, hub: Hub, now: float) -> None:
        """Run everything that is due at *now*, including a reconnect."""
        self.source.handle_timeout(now)
        if self.source.state is not State.OPEN:
            self._drop()
        if self.source.state is State.CONNECTING:
            if self.is_up:
                await self._open(hub, now)
            else:
                self.source.receive_error(now=now)

    async def _open(self, hub: Hub, now: float) -> None:
        field = dict(self.source.request_headers()).get("Last-Event-ID")
        channel = await hub.channel(self._user)
        opening = SubscribeRequest(last_event_id=read_last_event_id(field))
        reader = hub.subscribe(channel, self.page.view, opening)
        self._serving = hub.lease(reader)
        self._serving.__enter__()
        self._stream = self._dress(reader)
        self.source.receive_response(200, stream_headers(), now=now)

    def write(self, now: float) -> None:
        """Run the server's driver: drain, then sleep."""
        while self._stream is not None and len(self._wire) < ROOM:
            if chunks := self._stream.data_to_send(now):
                self._wire += chunks
            elif self._stream.is_open:
                return
            else:
                self._wire.append(None)
                self._leave()

    def read(self, most: int, now: float) -> None:
        """Deliver up to a number of chunks to the page."""
        for _ in range(most):
            if not self._wire or self.source.state is not State.OPEN:
                return
            chunk = self._wire.popleft()
            if chunk is None:
                self.source.receive_eof(now=now)
            elif not self._is_lost(chunk):
                self._hear(chunk, now)

    def _is_lost(self, chunk: bytes) -> bool:
        is_state = chunk.startswith(_STATES)
        return is_state and self.loss > 0 and self._random.random() < self.loss

    def _hear(self, chunk: bytes, now: float) -> None:
        for event in self.source.receive_data(chunk, now=now):
            if not self.page.hear(event):
                self._drop()
                self.source = self._new_source(now)
                return
            self._applied(self, event)

    def cut(self, now: float, *, silently: bool) -> None:
        """Lose the connection, perhaps within a frame, and all behind that."""
        chunk = self._wire[0] if self._wire else None
        self._drop()
        self.is_up = False
        if self.source.state is State.OPEN and not silently:
            if chunk and self._random.random() < 0.5:
                self.source.receive_data(chunk[: len(chunk) // 2], now=now)
            self.source.receive_error(now=now)

    def hang_up(self) -> None:
        """Lose the server; what it wrote may still arrive."""
        if self._stream is not None:
            self._wire.append(None)
            self._leave()

    def close(self) -> None:
        """Close the tab."""
        self._drop()

    def _drop(self) -> None:
        self._wire.clear()
        self._leave()

    def _leave(self) -> None:
        stream, self._stream = self._stream, None
        serving, self._serving = self._serving, None
        if stream is not None and serving is not None:
            stream.close()
            serving.__exit__(None, None, None)
