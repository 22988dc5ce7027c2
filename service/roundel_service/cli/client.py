"""Commands that sign a token or call a running service."""

from __future__ import annotations

import os
from collections.abc import Callable
from contextlib import aclosing
from pathlib import Path
from typing import Any, final

import attrs
import click
import httpx2
import msgspec
import trio

from roundel import Event, State
from roundel_adapters.client import connect

from ..client import ALL_USERS, Followers
from ..documents import encode_json
from ..domain.names import check_user_name
from ..identity.authenticator import Authenticator
from ..identity.hmac_key import HmacKey
from ..settings import ConfigError, load_some
from .http_client import explain_request, new_client, producer_client
from .options import TEXT, TIME, Seconds, config_option, given, url_option


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
@click.argument("words", nargs=-1, required=True, metavar="[USER] TITLE", type=TEXT)
@click.option("--topic", type=TEXT, help="Send it to all users who follow this topic.")
@click.option("--all", "to_all", is_flag=True, help="Send it to all users.")
@click.option(
    "--category", type=TEXT, default="default", show_default=True, help="Its category."
)
@click.option("--body", type=TEXT, help="Its text.")
@click.option("--key", type=TEXT, help="Replaces the item with this category and key.")
@click.option("--ttl", type=Seconds(0), help="Seconds until it expires; 0: never.")
@click.option(
    "--at", type=TIME, help="When it appears: ISO 8601, or seconds since 1970."
)
@url_option
@config_option
def notify(
    words: tuple[str, ...],
    topic: str | None,
    to_all: bool,
    url: str,
    file: Path | None,
    **fields: Any,  # noqa: ANN401
) -> None:
    """Send the notification TITLE to USER and print the response.

    With --all or --topic it is for all users, or for the followers of a topic, and
    there is no USER. The command authenticates with the first of ROUNDEL_PRODUCER_KEYS.
    """
    to, title = _recipients(words, topic, to_all=to_all)
    keys = load_some(("producer_keys",), os.environ, file)["producer_keys"]
    with (
        explain_request(f"{url}/v1/notify"),
        producer_client(url, key=keys[0]) as client,
    ):
        response = client.notify(to, title, **given(fields))
    click.echo(encode_json(response))


def _recipients(
    words: tuple[str, ...], topic: str | None, *, to_all: bool
) -> tuple[str | Followers, str]:
    """Return the recipients and the title that the arguments of `notify` name."""
    if to_all and topic is not None:
        raise click.UsageError("expected either --all or --topic")
    if not to_all and topic is None:
        if len(words) == 1:
            raise click.UsageError("Missing argument 'TITLE'.")
        user, title, *others = words
        if others:
            raise click.UsageError(f"Got unexpected arguments: {' '.join(others)}")
        if reason := check_user_name(user):
            raise click.UsageError(f"USER: {reason}")
        return user, title
    if len(words) != 1:
        raise click.UsageError("expected no USER with --all and --topic")
    return ALL_USERS if topic is None else Followers(topic), words[0]


@click.command()
@_user_argument
@click.option(
    "--level",
    default="items",
    show_default=True,
    type=click.Choice(["badge", "items"]),
    help="Only the badge, or each change of the items as well.",
)
@click.option("--json", "as_json", is_flag=True, help="Print each event as JSON.")
@url_option
@config_option
def watch(user: str, level: str, as_json: bool, url: str, file: Path | None) -> None:
    """Print the stream of USER, one event per line, until interrupted.

    With --json a line is an object with the type of the event, its last_event_id and
    its data. When the stream ends, the command reconnects and resumes, and says so on
    stderr. It authenticates with tokens that it signs with ROUNDEL_JWT_SECRET.
    """
    authenticator = _authenticator(file)
    with explain_request(url):
        trio.run(
            _watch,
            f"{url}/v1/stream?level={level}",
            lambda: authenticator.sign(user, ttl=3600),
            _json_line if as_json else _text_line,
        )


async def _watch(
    url: str, token: Callable[[], str], line: Callable[[Event], str]
) -> None:
    def headers() -> dict[str, str]:
        return {"Authorization": f"Bearer {token()}"}

    async with new_client(httpx2.AsyncClient, url) as client:
        stream = connect(client, url, headers=headers, on_state=_Reporter(url))
        async with aclosing(stream):
            async for event in stream:
                click.echo(line(event))


def _text_line(event: Event) -> str:
    return f"{event.type:<8} {event.data}"


def _json_line(event: Event) -> str:
    # The service sends its data as JSON without line ends.
    fields = {
        "type": event.type,
        "last_event_id": event.id or "",
        "data": msgspec.Raw(event.data.encode()),
    }
    return msgspec.json.encode(fields).decode()


@final
@attrs.define
class _Reporter:
    """Says on stderr when the stream is lost, and when it is there again."""

    _url: str
    _is_lost: bool = False

    def __call__(self, state: State, reason: str, delay: float) -> None:
        if state is State.WAITING:
            self._is_lost = True
            self._say(f"{reason}; trying again in {delay:.1f} s")
        elif state is State.OPEN and self._is_lost:
            self._is_lost = False
            self._say("connected")

    def _say(self, text: str) -> None:
        click.echo(f"roundel: {self._url}: {text}", err=True)


def _authenticator(file: Path | None) -> Authenticator:
    names = ("jwt_secret", "jwt_audience", "jwt_issuer", "jwt_user_claim")
    settings = load_some(names, os.environ, file)
    if settings["jwt_secret"] is None:
        raise ConfigError("ROUNDEL_JWT_SECRET: not set, expected the signing secret")
    return Authenticator(
        producer_keys=(),
        keys=HmacKey(settings["jwt_secret"]),
        audiences=settings["jwt_audience"],
        issuers=settings["jwt_issuer"],
        user_claim=settings["jwt_user_claim"],
    )
