"""What a check of an event stream does: publish, read, cut and reconnect.

Each published text has a number that no other has. A check compares the numbers that a
client received with the published ones, so the state that an application sends at
the start of a stream does not matter.
"""

from __future__ import annotations

import inspect
import re
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Sequence
from contextlib import asynccontextmanager, contextmanager
from itertools import count
from typing import TypeAlias, final

import attrs

from .. import requires_extra
from .asgi_client import AsgiClient, AsgiEventStream
from .messages import RequestHeaders

with requires_extra("asgi"):
    import anyio

Publish: TypeAlias = Callable[[str], Awaitable[object] | object]
"""Publishes a text as one event; may be a coroutine function."""

_TEXT = re.compile(r"probe-\d{6}")
_numbers = count()


@final
class StreamViolation(AssertionError):  # noqa: N818, named after the finding
    """An event stream breaks a promise; the message says which, and what happened."""


@final
@attrs.frozen(kw_only=True)
class StreamProbe:
    """An endpoint under test, and the functions that act on its application.

    *wait_timeout* is the longest wait in seconds for what has to happen at once.
    """

    client: AsgiClient
    target: str
    publish_text: Publish
    wait_timeout: float
    latest_wins: bool = False
    heartbeat: float | None = None
    restart: Callable[[], AsgiClient] | None = None
    shutdown: Callable[[], Awaitable[object] | object] | None = None
    published: list[str] = attrs.field(factory=list)

    async def publish(self) -> str:
        """Publish a new text, and return it."""
        text = f"probe-{next(_numbers):06d}"
        self.published.append(text)
        with self.within(lambda: "publish() did not return"):
            await call(self.publish_text, text)
        return text

    async def publish_many(self, number: int) -> list[str]:
        """Publish *number* texts, and return them in their order."""
        return [await self.publish() for _ in range(number)]

    def expected(self, missed: Sequence[str]) -> list[str]:
        """Return what a client gets that missed these texts."""
        return list(missed[-1:] if self.latest_wins else missed)

    @asynccontextmanager
    async def open(self, last_event_id: str = "") -> AsyncIterator[AsgiEventStream]:
        """Open a stream, with the last event id of an earlier one if it is given."""
        headers: RequestHeaders = {"Accept": "text/event-stream"}
        if last_event_id:
            headers = {**headers, "Last-Event-ID": last_event_id}
        async with self.client.stream(self.target, headers=headers) as stream:
            if stream.status != 200:
                raise StreamViolation(f"expected status 200, got {stream.status}")
            yield stream

    async def read_until(self, stream: AsgiEventStream, last: str) -> list[str]:
        """Read up to the event with the text *last*; return the texts, in order."""
        texts: list[str] = []
        with self.within(lambda: f"{last} did not arrive, but {texts}"):
            while last not in texts:
                event = await stream.next_event()
                if event is None:
                    raise StreamViolation(f"the stream ended before {last}: {texts}")
                texts += _TEXT.findall(event.data)
        return texts

    async def read_next(self, stream: AsgiEventStream) -> str:
        """Publish a text and read it; return the stream's last event id then."""
        await self.read_until(stream, await self.publish())
        if not stream.last_event_id:
            raise StreamViolation("expected an id in the event, got none")
        return stream.last_event_id

    async def resume(
        self, last_event_id: str, missed: Sequence[str], known: Sequence[str]
    ) -> list[str]:
        """Reconnect as a client that *missed* texts; return what it gets of *known*.

        It reads up to the last one, and up to one that is published then.
        """
        async with self.open(last_event_id) as stream:
            texts = await self.read_until(stream, missed[-1]) if missed else []
            texts += await self.read_until(stream, await self.publish())
        return [text for text in texts if text in known]

    @contextmanager
    def within(self, describe: Callable[[], str]) -> Iterator[None]:
        """Raise a violation if the block takes longer than `wait_timeout`."""
        with anyio.move_on_after(self.wait_timeout) as scope:
            yield
        if scope.cancelled_caught:
            reason = f"{describe()}, within {self.wait_timeout:g} s"
            raise StreamViolation(reason) from None


async def call(function: Callable[..., Awaitable[object] | object], *args: str) -> None:
    """Call a function that may be a coroutine function."""
    result = function(*args)
    if inspect.isawaitable(result):
        await result
