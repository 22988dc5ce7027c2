"""Commands that serve: `serve`, its `worker` processes, and `demo`."""

from __future__ import annotations

import functools
import logging
import os
import secrets
import signal
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import click
import structlog
import trio

from .. import app
from ..addresses import Address, ListenAddress, UnixAddress, is_loopback
from ..listening import ServiceUrls
from ..settings import DEFAULT_BIND, ConfigError, Settings, foreign_variables, load
from ..telemetry import logs
from . import lifecycle, service_manager, supervisor
from .errors import fail
from .options import bind_option, config_option, given
from .process_tuning import prepare_process, warn_of_few_files
from .settings_text import help_lines
from .signals import (
    END_SIGNALS,
    RELOAD_SIGNAL,
    ignore_end_signals,
    ignore_reload_signal,
)
from .worker_addresses import reserved_addresses

log: structlog.typing.FilteringBoundLogger = structlog.get_logger(__name__)

_HELP = f"""Run the badge service until SIGTERM or SIGINT.

The signal starts a graceful shutdown: each open stream ends with a time to
reconnect, and running requests finish. The process exits within
ROUNDEL_DRAIN_TIMEOUT seconds. A second signal ends it at once. SIGHUP reads
secrets, key files and CORS origins again.

Addresses are HOST:PORT, [::]:PORT for both families, unix:PATH, or fd:NUMBER for
a socket of the parent process. Several are separated by commas.

Several workers share the port, and each has an operator's listener: the first at
ROUNDEL_OPS_BIND, the others at the following ports. A worker that exits is
replaced. Several workers need an engine that processes can share.

Settings, from the environment or, in lower case and without ROUNDEL_, from the
file. Flags override the environment, which overrides the file. An empty variable
is unset. ROUNDEL_PRODUCER_KEYS_FILE and ROUNDEL_JWT_SECRET_FILE name a file with
the secret instead.

\b
{help_lines()}

Exit status: 0 after a signal, 1 if it cannot listen or open its file, 2 for
invalid settings.
"""


@click.command(help=_HELP)
@bind_option
@click.option(
    "--ops-bind", metavar="ADDRESS", help="Address of the operator's listener."
)
@click.option("--engine", help="URL of the engine: sqlite:PATH, memory or valkey://.")
@click.option("--workers", metavar="N", help="Number of processes, 1 to 64.")
@config_option
def serve(file: Path | None, **flags: str | None) -> None:
    """Run the badge service until SIGTERM or SIGINT, as the help says."""
    ignore_reload_signal()
    read_settings = functools.partial(load, given(flags), os.environ, file)
    settings = read_settings()
    _configure_logs(settings)
    if ignored := foreign_variables(os.environ):
        log.warning("unknown variables ignored", variables=ignored)
    if settings.workers > 1:
        _run_workers(settings, flags["engine"], file)
        return
    prepare_process()
    run = functools.partial(
        lifecycle.run,
        app.build(settings),
        settings,
        load=read_settings,
        wait_for_drain=_wait_for_signal,
        announce=functools.partial(_report_start, settings),
    )
    trio.run(run)


def _configure_logs(settings: Settings) -> None:
    levels = logging.getLevelNamesMapping()
    logs.configure_process(level=levels[settings.log_level.upper()])


async def _wait_for_signal() -> None:
    with trio.open_signal_receiver(*END_SIGNALS) as signals:
        await anext(signals)
    # SIGTERM has its default action again: a second signal ends the process at once.
    signal.signal(signal.SIGINT, signal.SIG_DFL)


def _report_start(settings: Settings, urls: ServiceUrls) -> None:
    _announce("Roundel is listening on", urls)
    # Of several processes the parent alone says it, and after any error of the start.
    warn_of_few_files(settings.max_streams)


def _announce(text: str, urls: ServiceUrls) -> None:
    """Print the URLs of the service when it is ready."""
    lines = [f"{text} {urls}".strip()]
    if urls.operator:
        several = "s" if len(urls.operator) > 1 else ""
        lines.append(f"Operator listener{several}: {', '.join(urls.operator)}")
    # Like the log: the service does not wait for the reader, or end without one.
    output = logs.writer_of(sys.stdout)
    output.write("".join(f"{line}\n" for line in lines))
    output.flush()


def _run_workers(settings: Settings, engine: str | None, file: Path | None) -> None:
    with reserved_addresses(settings) as addresses:
        # -P: never import the package from the current directory.
        command = [sys.executable, "-P", "-m", "roundel_service", "worker"]
        bind = _joined(addresses.bind)
        flags = given({"bind": bind, "engine": engine, "config": file})
        command += [f"--{name}={value}" for name, value in flags.items()]
        commands = [
            [*command, f"--number={number}", f"--ops-bind={_joined(ops)}"]
            for number, ops in enumerate(addresses.ops_binds, 1)
        ]
        supervise = functools.partial(
            _supervise,
            commands,
            drain_timeout=settings.drain_timeout,
            pass_fds=addresses.inherited,
            on_drain=addresses.stop_listening,
            on_ready=functools.partial(_report_start, settings, addresses.urls),
        )
        outcome = trio.run(supervise)
    if outcome == "failed":
        fail(1, "no worker could start")
    if outcome == "killed":
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
        signal.raise_signal(signal.SIGTERM)


def _joined(addresses: Iterable[ListenAddress]) -> str:
    return ",".join(map(str, addresses))


async def _supervise(
    commands: list[list[str]],
    **options: Any,  # noqa: ANN401
) -> supervisor.ExitReason:
    with trio.open_signal_receiver(*END_SIGNALS, RELOAD_SIGNAL) as signals:
        return await supervisor.supervise(commands, signals, **options)


@click.command(hidden=True)
@bind_option
@click.option("--ops-bind")
@click.option("--engine")
@click.option("--number", type=int)
@config_option
def worker(file: Path | None, number: int, **flags: str | None) -> None:
    """Run one worker of `serve`, until its input ends."""
    ignore_reload_signal()
    service_manager.leave_to_parent()
    # The parent has checked the number of workers.
    values = {**given(flags), "workers": "1"}
    read_settings = functools.partial(load, values, os.environ, file)
    settings = read_settings()
    _configure_logs(settings)
    structlog.contextvars.bind_contextvars(worker=number)
    ignore_end_signals()
    prepare_process()
    run = functools.partial(
        lifecycle.run,
        app.build(settings),
        settings,
        load=read_settings,
        wait_for_drain=supervisor.wait_for_drain,
        announce=functools.partial(_announce, ""),
        share_port=True,
    )
    trio.run(run)


@click.command()
@bind_option
def demo(bind: str | None) -> None:
    """Serve a page with two users, their badges, and a connection to cut.

    The secrets are random, and all data is in memory. The page can act as any user,
    so it is served only to this machine: --bind must be a loopback address.
    """
    from ..demo.app import demo_app  # `serve` needs no demo.

    key = secrets.token_urlsafe(24)
    flags = {
        "engine": "memory",
        "bind": bind or str(DEFAULT_BIND),
        "ops_bind": "",
        "producer_keys": key,
        "jwt_secret": secrets.token_urlsafe(32),
    }
    read_settings = functools.partial(load, flags, {})
    settings = read_settings()
    for address in settings.bind:
        if not _is_local(address):
            raise ConfigError(
                f"--bind: expected a loopback address for a demo, got {address}"
            )
    _configure_logs(settings)
    prepare_process()
    service = app.build(settings)
    run = functools.partial(
        lifecycle.run,
        service,
        settings,
        load=read_settings,
        wait_for_drain=_wait_for_signal,
        announce=functools.partial(_announce, "Roundel demo is listening on"),
        app=demo_app(service, producer_key=key),
    )
    trio.run(run)


def _is_local(address: ListenAddress) -> bool:
    if isinstance(address, Address):
        return is_loopback(address.host)
    return isinstance(address, UnixAddress)
