"""The service put together: from settings to something that answers."""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable
from typing import final

import attrs
import trio
from hypercorn.typing import Framework
from quart_trio import QuartTrio

from roundel_adapters import hypercorn

from .api import create_app
from .auth import Gate
from .config import Settings
from .engines.memory import MemoryEngine
from .hub import Hub, Timing
from .mailbox import Limits


@final
@attrs.frozen
class Service:
    """The parts of a running service."""

    hub: Hub
    gate: Gate
    app: QuartTrio


def build(settings: Settings, *, clock: Callable[[], float] = time.time) -> Service:
    """Build the service that *settings* describe.

    *clock* returns seconds since 1970.
    """
    limits = Limits(items=settings.mailbox_items, bytes=settings.mailbox_bytes)
    engine = MemoryEngine(limits=limits, ring=settings.ring_changes, clock=clock)
    timing = Timing(ping=settings.ping, max_age=settings.max_age)
    hub = Hub(engine, timing=timing, ring=settings.ring_changes, clock=clock)
    gate = Gate(
        producer_keys=settings.producer_keys,
        jwt_secret=settings.jwt_secret,
        audience=settings.jwt_audience,
        issuer=settings.jwt_issuer,
        clock=clock,
    )
    return Service(hub, gate, create_app(hub, gate))


async def run(
    service: Service,
    settings: Settings,
    *,
    shutdown: Callable[[], Awaitable[object]],
    app: Framework | None = None,
    task_status: trio.TaskStatus[str] = trio.TASK_STATUS_IGNORED,
) -> None:
    """Serve until *shutdown* returns, then end every stream and stop.

    *app* is served instead of the service's own, which it wraps. The status that is
    reported is the URL of the listener. Raises `OSError` if the address is taken.
    """
    bind = settings.bind
    listeners = await hypercorn.listen(bind.host, bind.port)
    port = listeners[0].socket.getsockname()[1]

    async def drain() -> None:
        await shutdown()
        service.hub.drain()

    limits = hypercorn.Limits(
        write_timeout=settings.write_timeout, drain_timeout=settings.drain_timeout
    )
    async with trio.open_nursery() as nursery:
        nursery.start_soon(service.hub.run)
        async with trio.open_nursery() as serving:
            await serving.start(
                _serve, app or service.app, listeners, drain, limits
            )  # fmt: skip
            task_status.started(f"http://{attrs.evolve(bind, port=port)}")
        nursery.cancel_scope.cancel()


async def _serve(
    app: Framework,
    listeners: list[trio.SocketListener],
    shutdown: Callable[[], Awaitable[None]],
    limits: hypercorn.Limits,
    *,
    task_status: trio.TaskStatus[None],
) -> None:
    await hypercorn.serve(
        app, listeners, shutdown=shutdown, limits=limits, task_status=task_status
    )
