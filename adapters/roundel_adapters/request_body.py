"""Quart request bodies with back-pressure.

Quart receives a whole body whether or not the view reads it, into memory: without a
bound, or up to a bound above which the request fails. A `PulledBody` holds one chunk,
and receives the next one when the view has taken it, so that the sender waits.
"""

from __future__ import annotations

from collections.abc import Generator
from typing import Any, final

from . import requires_extra
from .wakeup import Wakeup

with requires_extra("quart-trio"):
    from hypercorn.typing import ASGIReceiveCallable
    from quart_trio.wrappers.request import TrioRequest


@final
class PulledBody:
    """A request body of one chunk at a time; a replacement for `quart.wrappers.Body`.

    It does not inherit from Quart's class, whose private state differs in each version.
    """

    def __init__(
        self, expected_content_length: int | None, max_content_length: int | None
    ) -> None:
        self._chunk = b""
        self._is_complete = False
        self._content: bytes | None = None
        self._changed = Wakeup()

    def __aiter__(self) -> PulledBody:
        return self

    async def __anext__(self) -> bytes:
        while not self._chunk:
            if self._is_complete:
                raise StopAsyncIteration
            await self._changed.wait()
        chunk, self._chunk = self._chunk, b""
        self._changed.notify()
        return chunk

    def __await__(self) -> Generator[Any, Any, bytes]:
        return self._read_all().__await__()

    async def _read_all(self) -> bytes:
        if self._content is None:
            self._content = b"".join([chunk async for chunk in self])
        return self._content

    def clear(self) -> None:
        """Free the content that was read as a whole (called by Quart)."""
        self._content = None

    def set_result(self, data: bytes) -> None:
        """Set the whole body to *data* (called by Quart)."""
        self._chunk, self._is_complete = data, True

    async def receive_from(self, receive: ASGIReceiveCallable) -> None:
        """Receive the body's chunks, then wait for the peer's disconnect."""
        while (message := await receive())["type"] == "http.request":
            self._chunk = message.get("body", b"")
            self._is_complete = not message.get("more_body", False)
            self._changed.notify()
            while self._chunk:
                await self._changed.wait()


@final
class PulledRequest(TrioRequest):
    """A Quart-Trio request whose body is a `PulledBody`."""

    body_class = PulledBody  # type: ignore[assignment]
