"""The command `roundel`."""

from __future__ import annotations

import functools
import logging
import os
import secrets
import signal
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, NoReturn, final

import attrs
import click
import httpx2
import structlog
import trio
from hypercorn.typing import Framework

from roundel_adapters.client import StreamEnded, connect

from .. import app as service
from .. import settings as config
from ..demo import app as demo
from ..domain.names import is_user_name
from ..engines.sqlite.backup import back_up
from ..engines.sqlite.default_path import default_path
from ..identity.authenticator import Authenticator
from ..identity.hmac_key import HmacKey
from ..identity.tickets import Tickets
from ..operator.doctor import examine
from ..settings import Address, ConfigError, Settings
from ..telemetry import logs
from . import process
from . import supervisor as workers

DEFAULT_URL = f"http://{config.DEFAULT_BIND}"

_config_option = click.option(
    "--config",
    "file",
    type=click.Path(dir_okay=False, path_type=Path),
    help="A TOML file of settings, named in lower case and without ROUNDEL_.",
)
_bind_option = click.option(
    "--bind", metavar="HOST:PORT", help="Where to listen; port 0 takes any free one."
)
_url_option = click.option(
    "--url", default=DEFAULT_URL, show_default=True, help="Where the service is."
)


def _user(context: click.Context, parameter: click.Parameter, value: str) -> str:
    if not is_user_name(value):
        raise click.BadParameter("expected 1 to 128 of A-Z a-z 0-9 . _ ~ @ : + -")
    return value


_user_argument = click.argument("user", callback=_user)


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(package_name="roundel")
def main() -> None:
    """Keep every user's notification badge right and live, over plain SSE.

    \b
    Try it:   roundel demo
    Run it:   roundel serve
    Use it:   roundel notify alice "Bob mentioned you"
              roundel watch alice

    The service has to be told two secrets, in the environment or in a file:
    ROUNDEL_PRODUCER_KEYS, by which backends prove themselves, and
    ROUNDEL_JWT_SECRET, which signs the tokens of users. The commands that use a
    running service take the same ones.

    A setting that is unknown or wrong stops the command and is named.
    """


def _explained(command: Callable[..., None]) -> Callable[..., None]:
    """Say in a line what is wrong with the settings, the machine or the service."""

    @functools.wraps(command)
    def wrapper(*args: Any, **kwargs: Any) -> None:  # noqa: ANN401
        try:
            command(*args, **kwargs)
        except ConfigError as error:
            _fail(2, *error.lines)
        except (OSError, httpx2.HTTPError, StreamEnded) as error:
            _fail(1, str(error) or repr(error))
        except BaseExceptionGroup as group:
            cause = _alone(group)
            if isinstance(cause, KeyboardInterrupt):
                sys.exit(130)
            if isinstance(cause, OSError):
                _fail(1, str(cause) or repr(cause))
            raise

    return wrapper


def _alone(error: BaseException) -> BaseException:
    # A nursery puts what went wrong in it into a group, also if it is one thing.
    while isinstance(error, BaseExceptionGroup) and len(error.exceptions) == 1:
        error = error.exceptions[0]
    return error


def _fail(status: int, *lines: str) -> NoReturn:
    for line in lines:
        click.echo(f"roundel: {line}", err=True)
    sys.exit(status)


@main.command()
@_bind_option
@click.option(
    "--ops-bind", metavar="HOST:PORT", help="Where the operator's listener is."
)
@click.option("--engine", help="Where mailboxes are kept: sqlite:PATH or memory.")
@click.option("--workers", metavar="N", help="How many processes serve, 1 to 64.")
@_config_option
@_explained
def serve(file: Path | None, **flags: str | None) -> None:
    """Run the badge service until SIGTERM or SIGINT.

    At the end each open stream is told when to come back, what runs may finish, and
    the process is gone within ROUNDEL_DRAIN_TIMEOUT seconds at the latest. A second
    signal ends it at once.

    More than one worker share the port, each with an operator's listener: the first
    at ROUNDEL_OPS_BIND, the others at the ports that follow. One that dies is
    replaced, and all end together. The engine has to be one that processes can share.

    \b
    Settings, of the environment (or, in lower case and without ROUNDEL_, of the
    file); a flag beats the environment, which beats the file:
      ROUNDEL_BIND            127.0.0.1:8080
      ROUNDEL_OPS_BIND        127.0.0.1:9180, for /readyz and /metrics; empty: none
      ROUNDEL_ENGINE          sqlite:PATH, without a path in your data folder; memory;
                              valkey://HOST:PORT, which processes and nodes share;
                              valkeys://HOST:PORT?ca=FILE, the same over TLS
      ROUNDEL_DURABILITY      full; with normal or off a loss of power takes the last
      ROUNDEL_CACHE_BYTES     134217728 bytes of mailboxes at hand
      ROUNDEL_USER_TTL        7776000 seconds before an idle mailbox leaves a store
      ROUNDEL_WORKERS         1 process that serves; more with another engine
      ROUNDEL_PRODUCER_KEYS   keys of backends, separated by commas   (required)
      ROUNDEL_JWT_SECRET      signs users' tokens, 32 bytes or more   (required, or)
      ROUNDEL_JWKS            a file or URL of public keys that verify them
      ROUNDEL_JWT_AUDIENCE    the aud that tokens must have
      ROUNDEL_JWT_ISSUER      the iss that tokens must have
      ROUNDEL_CORS_ORIGINS    other sites whose pages may call, separated by commas
      ROUNDEL_PING            25 seconds of silence before a ping
      ROUNDEL_MAX_AGE         600 seconds before a stream is renewed
      ROUNDEL_WRITE_TIMEOUT   30 seconds before a reader that takes nothing is cut
      ROUNDEL_DRAIN_TIMEOUT   20 seconds at the most to end in
      ROUNDEL_MAX_STREAMS     20000 streams at once
      ROUNDEL_MAX_STREAMS_PER_USER
                              32 of them for one user
      ROUNDEL_PRODUCER_RATE   20000 notifications a second for a producer key
      ROUNDEL_USER_RATE       50 calls a second for a user
      ROUNDEL_MAILBOX_ITEMS   200 notifications a user
      ROUNDEL_MAILBOX_BYTES   262144 bytes of them a user
      ROUNDEL_RING_CHANGES    256 changes a user that streams can be replayed
      ROUNDEL_LOG_LEVEL       info; with warning no line for each request

    Exit status: 0 after a signal, 1 if it cannot listen or use its file, 2 for bad
    settings.
    """
    given = {name: value for name, value in flags.items() if value is not None}
    settings = config.load(given, os.environ, file)
    _log(settings)
    if settings.workers == 1:
        _run(service.build(settings), settings, "Roundel serves on {url}")
    else:
        _run_workers(settings, given.get("engine"), file)


def _log(settings: Settings) -> None:
    levels = logging.getLevelNamesMapping()
    logs.configure(sys.stderr, level=levels[settings.log_level.upper()])


def _run_workers(settings: Settings, engine: str | None, file: Path | None) -> None:
    with workers.reserved_addresses(settings) as places:
        commands = [
            _worker_command(number, places.bind, ops, engine, file)
            for number, ops in enumerate(places.ops, 1)
        ]
        announcement = f"Roundel serves on http://{places.bind}"
        if addresses := ", ".join(f"http://{ops}" for ops in places.ops if ops):
            announcement += f"\nOperators ask at {addresses}"
        ended = trio.run(
            _supervise, commands, settings.drain_timeout, _Announcement(announcement)
        )
    if ended == "failed":
        _fail(1, "no worker could start")
    if ended == "killed":
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
        signal.raise_signal(signal.SIGTERM)


async def _supervise(
    commands: list[list[str]], drain_timeout: float, announcement: _Announcement
) -> workers.Ended:
    with trio.open_signal_receiver(*workers.SIGNALS) as signals:
        return await workers.supervise(
            commands, signals, drain_timeout=drain_timeout, task_status=announcement
        )


def _worker_command(
    number: int,
    bind: Address,
    ops: Address | None,
    engine: str | None,
    file: Path | None,
) -> list[str]:
    flags = {
        "--number": str(number),
        "--bind": str(bind),
        "--ops-bind": str(ops or ""),
        "--engine": engine,
        "--config": file and str(file),
    }
    given = [f"{name}={value}" for name, value in flags.items() if value is not None]
    # Not from the folder in which the service happens to be started (-P).
    return [sys.executable, "-P", "-m", "roundel_service", "worker", *given]


@main.command(hidden=True)
@_bind_option
@click.option("--ops-bind")
@click.option("--engine")
@click.option("--number", type=int)
@_config_option
@_explained
def worker(file: Path | None, number: int, **flags: str | None) -> None:
    """Be one of several processes that serve, for as long as the input is open."""
    given = {name: value for name, value in flags.items() if value is not None}
    # What it is told was checked by its parent, for all of them.
    settings = config.load({**given, "workers": "1"}, os.environ, file)
    _log(settings)
    structlog.contextvars.bind_contextvars(worker=number)
    workers.ignore_signals()
    process.prepare()
    run = functools.partial(
        service.run,
        service.build(settings),
        settings,
        shutdown=workers.told_to_drain,
        share_port=True,
        task_status=_Announcement("{url}"),
    )
    trio.run(run)


@main.command("demo")
@_bind_option
@_explained
def demo_command(bind: str | None) -> None:
    """Serve a page to play with: two users, their badges, and a wire to cut.

    The secrets are made up and die with the process, as does everything else. Since
    the page can act as anybody, it is served to this machine alone: an address that
    others could reach is refused.
    """
    key = secrets.token_urlsafe(24)
    given = {
        "engine": "memory",
        "bind": bind or DEFAULT_URL.removeprefix("http://"),
        "ops_bind": "",
        "producer_keys": key,
        "jwt_secret": secrets.token_urlsafe(32),
    }
    settings = config.load(given, {})
    if not settings.bind.is_loopback:
        raise ConfigError(
            f"--bind: expected a loopback address for a demo, got {settings.bind}"
        )
    built = service.build(settings)
    app = demo.demo_app(built, producer_key=key)
    _run(built, settings, "Roundel demo on {url}", app)


def _run(
    built: service.Service,
    settings: Settings,
    announcement: str,
    app: Framework | None = None,
) -> None:
    process.prepare()

    async def signalled() -> None:
        with trio.open_signal_receiver(signal.SIGTERM, signal.SIGINT) as signals:
            await anext(signals)
        # SIGTERM's default action is back now: a second signal ends it at once.
        signal.signal(signal.SIGINT, signal.SIG_DFL)

    run = functools.partial(
        service.run,
        built,
        settings,
        shutdown=signalled,
        app=app,
        task_status=_Announcement(announcement),
    )
    trio.run(run)


@final
@attrs.frozen
class _Announcement:
    """Says where the service is, once it is there."""

    words: str

    def started(self, url: str | None = None) -> None:
        click.echo(self.words.format(url=url))


@main.command()
@click.argument("destination", type=click.Path(path_type=Path))
@click.option("--engine", help="What to copy: sqlite:PATH.")
@_config_option
@_explained
def backup(destination: Path, engine: str | None, file: Path | None) -> None:
    """Copy the file of the SQLite engine to DESTINATION, also while it is in use.

    The copy is checked, and on the disk when the command ends. To restore it, stop the
    service, put it in the place of the file, and start: every client is told that it
    has to begin anew.
    """
    given = {} if engine is None else {"engine": engine}
    chosen = config.load_some(("engine",), os.environ, file, given)["engine"]
    scheme, _, path = chosen.partition(":")
    if scheme != "sqlite":
        raise ConfigError(
            f"ROUNDEL_ENGINE: expected sqlite:PATH, since {scheme} has no file"
        )
    source = Path(path) if path else default_path()
    back_up(source, destination)
    click.echo(f"{source} is copied to {destination}")


@main.command()
@click.option("--engine", help="What to look at, as serve takes it.")
@_config_option
@_explained
def doctor(engine: str | None, file: Path | None) -> None:
    """Look at the engine: what it is, what it keeps, and what it could lose.

    Nothing of it is changed, and it may be in use. Each line is ok, a warning or a
    failure, with what to do.

    Exit status: 0, or 1 if there is a failure.
    """
    given = {} if engine is None else {"engine": engine}
    names = ("engine", "durability")
    chosen = config.load_some(names, os.environ, file, given)
    look = functools.partial(examine, durability=chosen["durability"])
    findings = trio.run(look, chosen["engine"])
    for finding in findings:
        click.echo(finding)
    if any(finding.level == "failure" for finding in findings):
        sys.exit(1)


@main.command()
@_user_argument
@click.option(
    "--ttl",
    default=3600.0,
    show_default=True,
    type=click.FloatRange(1, 31_536_000),
    help="For how many seconds it is valid.",
)
@_config_option
@_explained
def token(user: str, ttl: float, file: Path | None) -> None:
    """Print a token that proves its bearer to be USER.

    Signed with ROUNDEL_JWT_SECRET, for trying things out: a site signs its own.
    """
    click.echo(_authenticator(file).sign(user, ttl=ttl))


@main.command()
@_user_argument
@click.argument("title")
@click.option("--category", default="default", show_default=True, help="Counted by.")
@click.option("--body", help="Some more text.")
@click.option("--key", help="Replaces the user's item of this category and key.")
@click.option("--ttl", type=float, help="Seconds until it expires.")
@_url_option
@_config_option
@_explained
def notify(user: str, url: str, file: Path | None, **fields: Any) -> None:  # noqa: ANN401
    """Put the notification TITLE into the mailbox of USER and print the answer.

    Proves itself by the first of ROUNDEL_PRODUCER_KEYS.
    """
    keys = config.load_some(("producer_keys",), os.environ, file)["producer_keys"]
    given = {name: value for name, value in fields.items() if value is not None}
    response = httpx2.post(
        f"{url}/v1/notify",
        json={"to": {"user": user}, **given},
        headers={"Authorization": f"Bearer {keys[0]}"},
    )
    click.echo(response.text, err=response.is_error)
    sys.exit(1 if response.is_error else 0)


@main.command()
@_user_argument
@click.option(
    "--level",
    default="items",
    show_default=True,
    type=click.Choice(["badge", "items"]),
    help="Just the number, or each change of the list too.",
)
@_url_option
@_config_option
@_explained
def watch(user: str, level: str, url: str, file: Path | None) -> None:
    """Print the stream of USER, an event a line, until interrupted.

    Connects again whenever the stream ends, from where it was. Proves itself by a
    token that it signs with ROUNDEL_JWT_SECRET.
    """
    gate = _authenticator(file)
    try:
        trio.run(_watch, f"{url}/v1/stream?level={level}", gate, user)
    except KeyboardInterrupt:
        sys.exit(130)


async def _watch(url: str, gate: Authenticator, user: str) -> None:
    def headers() -> dict[str, str]:
        return {"Authorization": f"Bearer {gate.sign(user, ttl=3600)}"}

    async with httpx2.AsyncClient() as client:
        async for event in connect(client, url, headers=headers):
            click.echo(f"{event.type:<8} {event.data}")


def _authenticator(file: Path | None) -> Authenticator:
    names = ("jwt_secret", "jwt_audience", "jwt_issuer")
    values = config.load_some(names, os.environ, file)
    if values["jwt_secret"] is None:
        raise ConfigError("ROUNDEL_JWT_SECRET: not set, expected it to sign with")
    return Authenticator(
        producer_keys=(),
        keys=HmacKey(values["jwt_secret"]),
        tickets=Tickets(producer_keys=()),
        audience=values["jwt_audience"],
        issuer=values["jwt_issuer"],
    )
