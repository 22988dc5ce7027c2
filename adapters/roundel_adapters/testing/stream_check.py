"""The contract test of event streams: what an endpoint owes its clients."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Final, final

import attrs

from .. import requires_extra
from . import stream_promises
from .asgi_client import AsgiClient
from .stream_probe import Publish, StreamProbe, StreamViolation

with requires_extra("asgi"):
    import anyio

TIMEOUT_FACTOR: Final = 60
"""Timeout of one check, as a multiple of its `wait_timeout`."""


@final
@attrs.frozen
class StreamPromise:
    """A promise of an event stream; *needs* names the argument that checks it."""

    function: Callable[[StreamProbe], Awaitable[None]]
    needs: str | None = None

    @property
    def name(self) -> str:
        """The name of the promise."""
        return self.function.__name__

    def __str__(self) -> str:
        """Return the promise."""
        return " ".join((self.function.__doc__ or "").split())

    async def check(self, probe: StreamProbe) -> None:
        """Raise `StreamViolation` if the endpoint breaks the promise."""
        try:
            with anyio.fail_after(TIMEOUT_FACTOR * probe.wait_timeout):
                await self.function(probe)
        except StreamViolation as error:
            raise StreamViolation(f"{self.name}: {self}\n{error}") from None
        except Exception as error:
            raise StreamViolation(f"{self.name}: {self}\n{error!r}") from error


STREAM_PROMISES: Final = (
    StreamPromise(stream_promises.disconnect),
    StreamPromise(stream_promises.headers),
    StreamPromise(stream_promises.head),
    StreamPromise(stream_promises.live_events),
    StreamPromise(stream_promises.order),
    StreamPromise(stream_promises.ids),
    StreamPromise(stream_promises.resume),
    StreamPromise(stream_promises.no_duplicates),
    StreamPromise(stream_promises.cut_anywhere),
    StreamPromise(stream_promises.unknown_id),
    StreamPromise(stream_promises.slow_client),
    StreamPromise(stream_promises.heartbeat, needs="heartbeat"),
    StreamPromise(stream_promises.shutdown, needs="shutdown"),
    StreamPromise(stream_promises.restart, needs="restart"),
)
"""All promises, in the order in which they are checked."""


async def check_event_stream(
    client: AsgiClient,
    target: str = "/",
    *,
    publish: Publish,
    latest_wins: bool = False,
    heartbeat: float | None = None,
    restart: Callable[[], AsgiClient] | None = None,
    shutdown: Callable[[], Awaitable[object] | object] | None = None,
    wait_timeout: float = 2.0,
) -> None:
    """Check what an event stream owes its clients, on trio or asyncio.

    Raises an `ExceptionGroup` with a `StreamViolation` for each broken promise. It
    publishes about 150 events, and needs them for itself: texts of other publishers do
    no harm. If the response survives the disconnect, nothing else is checked.

    Args:
        client: A client of the application; its headers may have credentials.
        target: The path and query of the stream.
        publish: Publishes its argument as one event of the stream, whose data contains
            the text. It may be a coroutine function. After *restart* it publishes to
            the new application.
        latest_wins: Whether a client that missed several events gets the last only.
        heartbeat: The longest silence of a stream in seconds. Use virtual time.
        restart: Makes a new application, without the history, and returns its
            client. It is called twice.
        shutdown: Begins the shutdown of the application, which must end its streams.
            Only *restart* is checked after it.
        wait_timeout: Longest wait in seconds for what has to happen at once.
    """
    probe = StreamProbe(
        client=client,
        target=target,
        publish_text=publish,
        latest_wins=latest_wins,
        heartbeat=heartbeat,
        restart=restart,
        shutdown=shutdown,
        wait_timeout=wait_timeout,
    )
    violations: list[StreamViolation] = []
    for promise in STREAM_PROMISES:
        if promise.needs is None or getattr(probe, promise.needs) is not None:
            try:
                await promise.check(probe)
            except StreamViolation as error:
                violations.append(error)
                if promise.function is stream_promises.disconnect:
                    break
    if violations:
        raise ExceptionGroup("the event stream breaks its promises", violations)
