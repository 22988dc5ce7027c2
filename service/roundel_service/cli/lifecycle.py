"""The life of a service process: ready, reloaded by a signal, drained by another."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from functools import partial

import structlog
import trio
from hypercorn.typing import ASGIFramework

from ..app import Service
from ..app import run as run_service
from ..listening import ServiceUrls
from ..reload import Reloader
from ..settings import ConfigError, Settings
from . import service_manager
from .signals import RELOAD_SIGNAL

RELOAD_TIMEOUT = 10.0
"""Seconds in which the settings must be read: a file can be a pipe."""

log: structlog.typing.FilteringBoundLogger = structlog.get_logger(__name__)


async def run(
    service: Service,
    settings: Settings,
    *,
    load: Callable[[], Settings],
    wait_for_drain: Callable[[], Awaitable[object]],
    announce: Callable[[ServiceUrls], None],
    app: ASGIFramework | None = None,
    share_port: bool = False,
) -> None:
    """Run *service* until `wait_for_drain()` returns.

    `announce()` is called when the service listens. `RELOAD_SIGNAL` replaces what a
    reload can replace by the settings of `load()`. The other arguments are those of
    `app.run()`.
    """
    reloads = trio.CancelScope()
    with trio.open_signal_receiver(RELOAD_SIGNAL) as signals:
        async with trio.open_nursery() as nursery:

            async def shutdown() -> None:
                await wait_for_drain()
                reloads.cancel()
                # The drain does not wait for the manager.
                nursery.start_soon(service_manager.notify, "STOPPING=1")

            run_app = partial(
                run_service,
                service,
                settings,
                shutdown=shutdown,
                app=app,
                share_port=share_port,
            )
            announce(await nursery.start(run_app))
            await service_manager.notify("READY=1")
            with reloads:
                await _reload_on(signals, Reloader(service, settings), load)


async def _reload_on(
    signals: AsyncIterator[object], reloader: Reloader, load: Callable[[], Settings]
) -> None:
    # A limit of its own: a thread that waits for a pipe takes the place for ever.
    limiter = trio.CapacityLimiter(1)
    async for _ in signals:
        await service_manager.notify(*service_manager.reloading())
        try:
            with trio.fail_after(RELOAD_TIMEOUT):
                settings = await trio.to_thread.run_sync(
                    load, abandon_on_cancel=True, limiter=limiter
                )
            await reloader.apply(settings)
        except ConfigError as error:
            log.warning("settings not reloaded", errors=error.lines)
        except Exception:
            # A reload never ends the service.
            log.exception("settings not reloaded")
        await service_manager.notify("READY=1")
