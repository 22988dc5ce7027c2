"""Commands that inspect an engine or call a running service."""

from __future__ import annotations

import functools
import os
import sys
from pathlib import Path
from typing import Any

import click
import httpx2
import trio

from roundel_adapters.client import connect

from ..domain.names import is_user_name
from ..engines.sqlite.backup import back_up
from ..engines.sqlite.default_path import default_path
from ..identity.authenticator import Authenticator
from ..identity.hmac_key import HmacKey
from ..operator.doctor import examine
from ..settings import ConfigError, load_some
from .options import config_option, engine_option, explain_errors, given, url_option


@click.command()
@click.argument("destination", type=click.Path(path_type=Path))
@engine_option
@config_option
@explain_errors()
def backup(destination: Path, engine: str | None, file: Path | None) -> None:
    """Copy the SQLite file of the engine to DESTINATION, even while it is in use.

    When the command ends, the copy has been checked and is on disk. To restore it,
    stop the service, replace the file with the copy, and start the service. Every
    client then receives a reset.
    """
    flags = given({"engine": engine})
    url = load_some(("engine",), os.environ, file, flags)["engine"]
    scheme, _, path = url.partition(":")
    if scheme != "sqlite":
        raise ConfigError(
            f"ROUNDEL_ENGINE: expected sqlite:PATH, since {scheme} has no file"
        )
    source = Path(path) if path else default_path()
    back_up(source, destination)
    click.echo(f"copied {source} to {destination}")


@click.command()
@engine_option
@config_option
@explain_errors()
def doctor(engine: str | None, file: Path | None) -> None:
    """Check the engine: its state, what it stores, and what it could lose.

    The command changes nothing, and the engine may be in use. Each line is ok, a
    warning or a failure, with advice.

    Exit status: 0, or 1 after a failure.
    """
    names = ("engine", "durability")
    settings = load_some(names, os.environ, file, given({"engine": engine}))
    check = functools.partial(examine, durability=settings["durability"])
    findings = trio.run(check, settings["engine"])
    for finding in findings:
        click.echo(finding)
    if any(finding.level == "failure" for finding in findings):
        sys.exit(1)


def _check_user(context: click.Context, parameter: click.Parameter, value: str) -> str:
    if not is_user_name(value):
        raise click.BadParameter("expected 1 to 128 of A-Z a-z 0-9 . _ ~ @ : + -")
    return value


_user_argument = click.argument("user", callback=_check_user)


@click.command()
@_user_argument
@click.option(
    "--ttl",
    default=3600.0,
    show_default=True,
    type=click.FloatRange(1, 31_536_000),
    help="Lifetime of the token in seconds.",
)
@config_option
@explain_errors()
def token(user: str, ttl: float, file: Path | None) -> None:
    """Print a token for USER, signed with ROUNDEL_JWT_SECRET.

    The command is for tests: a site signs its own tokens.
    """
    click.echo(_authenticator(file).sign(user, ttl=ttl))


@click.command()
@_user_argument
@click.argument("title")
@click.option("--category", default="default", show_default=True, help="Its category.")
@click.option("--body", help="Its text.")
@click.option("--key", help="Replaces the item with this category and key.")
@click.option("--ttl", type=float, help="Seconds until it expires.")
@url_option
@config_option
@explain_errors()
def notify(user: str, url: str, file: Path | None, **fields: Any) -> None:  # noqa: ANN401
    """Send the notification TITLE to USER and print the response.

    The command authenticates with the first of ROUNDEL_PRODUCER_KEYS.
    """
    keys = load_some(("producer_keys",), os.environ, file)["producer_keys"]
    response = httpx2.post(
        f"{url}/v1/notify",
        json={"to": {"user": user}, **given(fields)},
        headers={"Authorization": f"Bearer {keys[0]}"},
    )
    click.echo(response.text, err=response.is_error)
    sys.exit(1 if response.is_error else 0)


@click.command()
@_user_argument
@click.option(
    "--level",
    default="items",
    show_default=True,
    type=click.Choice(["badge", "items"]),
    help="Only the badge, or each change of the items as well.",
)
@url_option
@config_option
@explain_errors()
def watch(user: str, level: str, url: str, file: Path | None) -> None:
    """Print the stream of USER, one event per line, until interrupted.

    When the stream ends, the command reconnects and resumes. It authenticates with
    tokens that it signs with ROUNDEL_JWT_SECRET.
    """
    try:
        trio.run(_watch, f"{url}/v1/stream?level={level}", _authenticator(file), user)
    except KeyboardInterrupt:
        sys.exit(130)


async def _watch(url: str, authenticator: Authenticator, user: str) -> None:
    def headers() -> dict[str, str]:
        return {"Authorization": f"Bearer {authenticator.sign(user, ttl=3600)}"}

    async with httpx2.AsyncClient() as client:
        async for event in connect(client, url, headers=headers):
            click.echo(f"{event.type:<8} {event.data}")


def _authenticator(file: Path | None) -> Authenticator:
    names = ("jwt_secret", "jwt_audience", "jwt_issuer")
    settings = load_some(names, os.environ, file)
    if settings["jwt_secret"] is None:
        raise ConfigError("ROUNDEL_JWT_SECRET: not set, expected the signing secret")
    return Authenticator(
        producer_keys=(),
        keys=HmacKey(settings["jwt_secret"]),
        audience=settings["jwt_audience"],
        issuer=settings["jwt_issuer"],
    )
