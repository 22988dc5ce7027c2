"""Commands that sign a token or call a running service."""

from __future__ import annotations

import os
from contextlib import aclosing
from pathlib import Path
from typing import Any

import click
import httpx2
import trio

from roundel import State
from roundel_adapters.client import connect

from ..domain.names import check_user_name
from ..identity.authenticator import Authenticator
from ..identity.hmac_key import HmacKey
from ..settings import ConfigError, load_some
from .http_client import explain_request, is_local, post
from .options import TEXT, Seconds, config_option, given, url_option


def _check_user(context: click.Context, parameter: click.Parameter, value: str) -> str:
    if reason := check_user_name(value):
        raise click.BadParameter(reason)
    return value


_user_argument = click.argument("user", callback=_check_user)


@click.command()
@_user_argument
@click.option(
    "--ttl",
    default=3600.0,
    show_default=True,
    type=Seconds(1, 31_536_000),
    help="Lifetime of the token in seconds.",
)
@config_option
def token(user: str, ttl: float, file: Path | None) -> None:
    """Print a token for USER, signed with ROUNDEL_JWT_SECRET.

    The command is for tests: a site signs its own tokens.
    """
    click.echo(_authenticator(file).sign(user, ttl=ttl))


@click.command()
@_user_argument
@click.argument("title", type=TEXT)
@click.option(
    "--category", type=TEXT, default="default", show_default=True, help="Its category."
)
@click.option("--body", type=TEXT, help="Its text.")
@click.option("--key", type=TEXT, help="Replaces the item with this category and key.")
@click.option("--ttl", type=Seconds(), help="Seconds until it expires.")
@url_option
@config_option
def notify(user: str, url: str, file: Path | None, **fields: Any) -> None:  # noqa: ANN401
    """Send the notification TITLE to USER and print the response.

    The command authenticates with the first of ROUNDEL_PRODUCER_KEYS.
    """
    keys = load_some(("producer_keys",), os.environ, file)["producer_keys"]
    document = {"to": {"user": user}, **given(fields)}
    click.echo(post(f"{url}/v1/notify", document, key=keys[0]))


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
def watch(user: str, level: str, url: str, file: Path | None) -> None:
    """Print the stream of USER, one event per line, until interrupted.

    When the stream ends, the command says so on stderr, reconnects and resumes. It
    authenticates with tokens that it signs with ROUNDEL_JWT_SECRET.
    """
    authenticator = _authenticator(file)
    with explain_request(url):
        trio.run(_watch, f"{url}/v1/stream?level={level}", authenticator, user)


async def _watch(url: str, authenticator: Authenticator, user: str) -> None:
    def headers() -> dict[str, str]:
        return {"Authorization": f"Bearer {authenticator.sign(user, ttl=3600)}"}

    async with httpx2.AsyncClient(trust_env=not is_local(url)) as client:
        events = connect(client, url, headers=headers, on_state=_report_loss)
        async with aclosing(events):
            async for event in events:
                click.echo(f"{event.type:<8} {event.data}")


def _report_loss(state: State, reason: str, delay: float) -> None:
    if state is State.WAITING:
        click.echo(f"not connected: {reason}; next try in {delay:.1f} s", err=True)


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
