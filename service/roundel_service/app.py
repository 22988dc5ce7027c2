"""The composition root: builds the service from its settings, and runs it."""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable, Mapping
from contextlib import ExitStack
from functools import partial
from typing import TypeAlias, final

import attrs

from roundel_adapters import requires_extra

with requires_extra("service"):
    import trio
    from hypercorn.typing import ASGIFramework
    from msgspec.structs import replace

    from roundel_adapters import server

from .domain.items import MAX_ITEM_SIZE, MailboxLimits
from .domain.record import RecordLimits
from .engines import open_engine
from .engines.base import Engine, EngineUnavailable
from .http.access_control import AccessControl, RateLimits
from .http.apps.deferred_app import DeferredApp
from .http.apps.fastpath_app import FastpathApp
from .http.cors import Cors
from .http.dispatcher import Dispatcher
from .http.handlers.retention import Retention
from .http.messages import MAX_TARGET
from .http.router import Router
from .http.routes import create_routes
from .identity import jose
from .identity.authenticator import Authenticator
from .identity.hmac_key import HmacKey
from .identity.jwks import JwksClient
from .identity.tickets import SecretSource, process_secret
from .listening import ServiceUrls, open_listeners
from .operator.audit import Audit
from .settings import Settings
from .streams.hub import Hub
from .streams.registry import StreamLimits
from .streams.subscribe import StreamTimeouts
from .telemetry.metrics import Metrics

Readiness: TypeAlias = Callable[[], Awaitable[Mapping[str, str]]]
"""Returns the reasons why the service is not ready, by name; empty if it is ready."""

Warnings: TypeAlias = Callable[[], Mapping[str, str]]
"""Returns what needs a look although the service is ready, by name."""

SPARE_CONNECTIONS = 2_000
"""Connections beyond the stream limit: for other requests and rejected streams."""

FINAL_REPORT_TIMEOUT = 0.5
"""Timeout for the last presence report to the other nodes, in seconds."""


@final
@attrs.frozen
class Service:
    """Holds the parts of a running service."""

    hub: Hub
    authenticator: Authenticator
    cors: Cors
    app: DeferredApp[ASGIFramework]
    fastpath: FastpathApp
    operator_app: DeferredApp[ASGIFramework]
    audit: Audit

    async def run(
        self, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED
    ) -> None:
        """Run the background tasks until cancelled."""
        async with trio.open_nursery() as nursery:
            # First: the other tasks read the engine.
            await nursery.start(self.hub.engine.run)
            await nursery.start(self.hub.run)
            if isinstance(self.authenticator.keys, JwksClient):
                await nursery.start(self.authenticator.keys.run)
            nursery.start_soon(self.audit.run)
            task_status.started()


def build(
    settings: Settings,
    *,
    clock: Callable[[], float] = time.time,
    engine: Engine | None = None,
) -> Service:
    """Build the service, on the engine of the *settings* unless one is given.

    `Service.run()` must run in the background. *clock* returns seconds since 1970.
    """
    engine = engine or create_engine(settings, clock)
    hub = _create_hub(settings, engine, clock)
    authenticator = build_authenticator(
        settings, clock=clock, ticket_secret=engine.secret
    )
    access = AccessControl(
        authenticator,
        engine,
        cors=Cors(frozenset(settings.cors_origins)),
        rates=RateLimits(
            producer=settings.producer_rate,
            user=settings.user_rate,
            topic=settings.topic_rate,
        ),
        metrics=hub.metrics,
        clock=clock,
    )
    hub.metrics.streams_open.set_function(lambda: hub.streams)
    hub.metrics.followers_behind.set_function(lambda: hub.sweep.followers_behind)
    hub.metrics.draining.set_function(lambda: hub.is_draining)
    if isinstance(authenticator.keys, JwksClient):
        keys = authenticator.keys
        hub.metrics.jwks_age.set_function(lambda: keys.age)
    dispatcher = Dispatcher(access.cors, hub.metrics)
    retention = Retention(dict(settings.ttl), topic=settings.topic_ttl)
    router = Router(create_routes(hub, access, retention))
    readiness = partial(_unready_reasons, hub, authenticator)
    return Service(
        hub=hub,
        authenticator=authenticator,
        cors=access.cors,
        app=DeferredApp(partial(_create_app, dispatcher, router)),
        fastpath=FastpathApp(dispatcher, router),
        operator_app=DeferredApp(
            partial(
                _create_operator_app,
                hub.metrics,
                readiness,
                partial(_warnings, authenticator),
            )
        ),
        audit=Audit(engine, hub.delivered_badge, hub.metrics),
    )


def create_engine(settings: Settings, clock: Callable[[], float]) -> Engine:
    """Create the engine of the *settings*; *clock* returns seconds since 1970."""
    return open_engine(
        settings.engine,
        _record_limits(settings),
        clock=clock,
        durability=settings.durability,
        cache_bytes=settings.cache_bytes,
        user_ttl=settings.user_ttl,
    )


def _record_limits(settings: Settings) -> RecordLimits:
    mailbox = MailboxLimits(
        items=settings.mailbox_items,
        bytes=settings.mailbox_bytes,
        waiting=settings.mailbox_waiting,
        topics=settings.max_follows,
    )
    # Half a mailbox, so that one topic cannot evict all that is personal.
    size = max(MAX_ITEM_SIZE, mailbox.bytes // 2)
    return RecordLimits(
        mailbox=mailbox,
        change_log_size=settings.ring_changes,
        topic=replace(mailbox, items=settings.topic_items, bytes=size),
    )


def _create_hub(settings: Settings, engine: Engine, clock: Callable[[], float]) -> Hub:
    return Hub(
        engine,
        timeouts=StreamTimeouts(
            ping=settings.ping,
            max_age=settings.max_age,
            write_timeout=settings.write_timeout,
            retry=settings.retry,
        ),
        limits=StreamLimits(
            streams=settings.max_streams, per_user=settings.max_streams_per_user
        ),
        change_log_size=settings.ring_changes,
        clock=clock,
    )


# Quart takes 0.1 s to import, so it is imported when the service listens.
def _create_app(dispatcher: Dispatcher, router: Router) -> ASGIFramework:
    from .http.apps.quart_app import create_app

    return create_app(dispatcher, router)


def _create_operator_app(
    metrics: Metrics, readiness: Readiness, warnings: Warnings
) -> ASGIFramework:
    from .operator.app import create_operator_app

    return create_operator_app(metrics=metrics, readiness=readiness, warnings=warnings)


def build_authenticator(
    settings: Settings,
    *,
    clock: Callable[[], float] = time.time,
    ticket_secret: SecretSource | None = None,
) -> Authenticator:
    """Build the authenticator of the *settings*; tickets need the *ticket_secret*."""
    return Authenticator(
        producer_keys=settings.producer_keys,
        keys=JwksClient(settings.jwks) if settings.jwks else _hmac_key(settings),
        audiences=settings.jwt_audience,
        issuers=settings.jwt_issuer,
        user_claim=settings.jwt_user_claim,
        cookie=settings.cookie,
        max_topics=settings.max_follows,
        clock=clock,
        ticket_secret=ticket_secret or process_secret(),
    )


def _hmac_key(settings: Settings) -> HmacKey:
    assert settings.jwt_secret is not None
    return HmacKey(settings.jwt_secret)


def replace_secrets(service: Service, settings: Settings) -> None:
    """Use the secrets and CORS origins of *settings* in a running *service*.

    Raises `ValueError` for an unusable secret, before any change.
    """
    keys = service.authenticator.keys
    if isinstance(keys, HmacKey):
        keys = _hmac_key(settings)
    service.authenticator.replace_keys(settings.producer_keys, keys)
    service.cors.origins = frozenset(settings.cors_origins)


async def _unready_reasons(hub: Hub, authenticator: Authenticator) -> Mapping[str, str]:
    """Return why this process should get no requests; empty if it is ready."""
    reasons = {}
    if hub.is_draining:
        reasons["draining"] = "the service is shutting down"
    keys = authenticator.keys
    if isinstance(keys, JwksClient) and not keys.is_loaded:
        reasons["jwks"] = "no key to verify tokens has been loaded"
    try:
        await hub.engine.check()
    except EngineUnavailable as error:
        reasons["engine"] = str(error)
    return reasons


def _warnings(authenticator: Authenticator) -> Mapping[str, str]:
    """Return what needs a look although this process is ready."""
    keys = authenticator.keys
    warning = keys.warning if isinstance(keys, JwksClient) else None
    return {"jwks": warning} if warning else {}


async def run(
    service: Service,
    settings: Settings,
    *,
    shutdown: Callable[[], Awaitable[object]],
    app: ASGIFramework | None = None,
    share_port: bool = False,
    task_status: trio.TaskStatus[ServiceUrls] = trio.TASK_STATUS_IGNORED,
) -> None:
    """Serve until *shutdown* returns, then end every stream and stop.

    *app* wraps the service's own app and is served in its place, without the fast
    path. With *share_port*, other processes can listen on the same port, but not on
    the operator's. `task_status.started()` gets the URLs of the listeners. Raises
    `OSError` if an address is in use.
    """
    with ExitStack() as files, ExitStack() as operator_files:
        listeners, urls = await open_listeners(
            settings.bind, files, share_port=share_port
        )
        operator_listeners, operator_urls = await open_listeners(
            settings.ops_bind, operator_files
        )

        async def drain() -> None:
            await shutdown()
            # Before the listeners close: the next process can then open its own.
            files.close()
            service.hub.drain()

        serve_app = partial(
            server.serve,
            app or service.app,
            listeners,
            shutdown=drain,
            limits=server_limits(settings),
            fastpath=service.fastpath if app is None else None,
            http2=settings.http2 == "on",
        )
        # Not shut down with the service: it answers probes during the drain.
        serve_operator = partial(
            server.serve,
            service.operator_app,
            operator_listeners,
            shutdown=trio.sleep_forever,
            http2=settings.http2 == "on",
        )
        async with trio.open_nursery() as nursery:
            await nursery.start(service.run)
            if operator_listeners:
                await nursery.start(serve_operator)
            async with trio.open_nursery() as serving:
                await serving.start(serve_app)
                task_status.started(ServiceUrls(urls, operator_urls))
                # In threads, so that neither the start nor the first request waits.
                # A shutdown waits for them: an exit during the import of a native
                # module aborts the process.
                nursery.start_soon(trio.to_thread.run_sync, jose.import_all)
                nursery.start_soon(service.operator_app.load)
                nursery.start_soon(service.app.load)
            if service.hub.presence is not None:
                with trio.move_on_after(FINAL_REPORT_TIMEOUT):
                    await service.hub.presence.flush()
            nursery.cancel_scope.cancel()


def server_limits(settings: Settings) -> server.ServerLimits:
    """Return the limits of the main listeners."""
    return server.ServerLimits(
        write_timeout=settings.write_timeout,
        drain_timeout=settings.drain_timeout,
        max_connections=settings.max_streams + SPARE_CONNECTIONS,
        max_target=MAX_TARGET,
    )
