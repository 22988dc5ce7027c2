"""The startup and shutdown of an ASGI application."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, MutableMapping
from contextlib import asynccontextmanager, closing
from functools import partial
from typing import Any, TypeAlias, final

from .. import requires_extra
from .asgi_exchange import running, sole_error

with requires_extra("asgi"):
    import anyio

_Message: TypeAlias = MutableMapping[str, Any]


@final
class LifespanFailed(Exception):  # noqa: N818, named after the ASGI message
    """The application reported that its startup or its shutdown failed."""


@asynccontextmanager
async def run_lifespan(
    app: Callable[..., Awaitable[object]],
) -> AsyncIterator[dict[str, object]]:
    """Run the startup of *app*, yield its state, and run its shutdown.

    Raises `LifespanFailed` if the application reports a failure.
    """
    lifespan = _Lifespan()
    with sole_error(), closing(lifespan):
        async with running(partial(lifespan.run, app)) as cancel:
            await lifespan.request("startup")
            try:
                yield lifespan.state
            finally:
                await lifespan.request("shutdown")
            cancel()


@final
class _Lifespan:
    def __init__(self) -> None:
        self.state: dict[str, object] = {}
        self._requests, self._received = anyio.create_memory_object_stream[_Message](1)
        self._sent, self._answers = anyio.create_memory_object_stream[_Message](2)

    async def run(self, app: Callable[..., Awaitable[object]]) -> None:
        scope = {
            "type": "lifespan",
            "asgi": {"version": "3.0", "spec_version": "2.0"},
            "state": self.state,
        }
        # An exception cancels the wait for the answer.
        await app(scope, self._received.receive, self._sent.send)
        self._sent.close()

    async def request(self, phase: str) -> None:
        self._requests.send_nowait({"type": f"lifespan.{phase}"})
        answer = await anext(self._answers, {"type": "the end of the application"})
        if answer["type"] != f"lifespan.{phase}.complete":
            reason = answer.get("message") or answer["type"]
            raise LifespanFailed(f"expected a complete {phase}, got: {reason}")

    def close(self) -> None:
        for end in (self._requests, self._received, self._sent, self._answers):
            end.close()
