"""An ASGI application that is created after the server listens."""

from __future__ import annotations

from collections.abc import Callable
from functools import cached_property
from typing import Generic, TypeVar, final

import attrs
import trio
from hypercorn.typing import (
    ASGIFramework,
    ASGIReceiveCallable,
    ASGISendCallable,
    LifespanScope,
    Scope,
)

from roundel_adapters.server.dispatcher.handoff import forward

AppT = TypeVar("AppT", bound=ASGIFramework)


@final
@attrs.define(slots=False, eq=False)
class DeferredApp(Generic[AppT]):
    """Creates an application by *create*, at the latest for its first request.

    The import of a framework takes a quarter of the processor time of a start, and
    most requests are served without one.
    """

    create: Callable[[], AppT]
    _loaded: trio.Event | None = None

    @cached_property
    def app(self) -> AppT:
        """The application."""
        return self.create()

    async def load(self) -> None:
        """Create the application in a thread; requests wait until it exists."""
        self._loaded = trio.Event()
        try:
            await trio.to_thread.run_sync(getattr, self, "app")
        finally:
            self._loaded.set()

    async def __call__(
        self, scope: Scope, receive: ASGIReceiveCallable, send: ASGISendCallable
    ) -> None:
        """Serve *scope* by the application, which gets no lifespan."""
        if scope["type"] == "lifespan":
            await _serve_lifespan(scope, receive, send)
            return
        if self._loaded is not None:
            await self._loaded.wait()
        forward(scope, wrapper=self, app=self.app)
        await self.app(scope, receive, send)


async def _serve_lifespan(
    scope: LifespanScope, receive: ASGIReceiveCallable, send: ASGISendCallable
) -> None:
    await receive()
    await send({"type": "lifespan.startup.complete"})
    await receive()
    await send({"type": "lifespan.shutdown.complete"})
