"""Reload: new secrets, key files and CORS origins in a running service."""

from __future__ import annotations

import json

import attrs
import pytest
from structlog.testing import capture_logs

from roundel_adapters.testing import AsgiClient
from roundel_service import app as service
from roundel_service.reload import Reloader
from roundel_service.settings import Settings
from support.service import (
    KEY,
    SECRET,
    RunningService,
    body,
    data,
    post,
    settings,
    wall_clock,
)

OTHER_KEY, OTHER_SECRET = f"other-{KEY}", f"other-{SECRET}"
NOTIFY = {"to": {"user": "alice"}, "title": "Hello"}


async def reload(world, before: Settings | None = None, **changes):
    """Reload *world* with *changes*; return the log lines as (event, names)."""
    before = before or settings()
    with capture_logs() as lines:
        await Reloader(world.service, before).apply(attrs.evolve(before, **changes))
    return [(line["event"], line["changed"]) for line in lines]


async def status_of(world, key: str) -> int:
    client = world.anonymous.with_headers({"Authorization": f"Bearer {key}"})
    return (await post(client, "/v1/notify", NOTIFY)).status


async def test_new_producer_key_replaces_the_old_one(autojump_clock, world):
    """The old key is refused from now on, and the new one gets tickets."""
    lines = await reload(world, producer_keys=(OTHER_KEY,))

    assert [("settings reloaded", ["producer_keys"])] == lines
    assert (401, 200) == (
        await status_of(world, KEY),
        await status_of(world, OTHER_KEY),
    )
    client = world.anonymous.with_headers({"Authorization": f"Bearer {OTHER_KEY}"})
    ticket = body(await post(client, "/v1/tickets", {"user": "alice"}))
    async with world.anonymous.stream(ticket["url"]) as stream:
        assert "current" != data(await stream.next_event())["resume"]


async def test_new_secret_verifies_tokens_and_keeps_open_streams(autojump_clock, world):
    """An open stream stays; the next request needs a token of the new secret."""
    old = world.user("alice")
    async with old.stream("/v1/stream?level=badge") as stream:
        await stream.next_event()
        await stream.next_event()
        lines = await reload(world, jwt_secret=(OTHER_SECRET,))
        await world.notify("alice")

        assert 1 == data(await stream.next_event())["unread"]
    assert [("settings reloaded", ["jwt_secret"])] == lines
    assert 401 == (await old.request("GET", "/v1/badge")).status
    assert 1 == (await world.badge("alice"))["unread"]


async def test_new_origins_are_allowed_at_once(autojump_clock, world):
    """Responses and preflights follow the new list."""
    origin = "https://app.example"
    preflight = {"Origin": origin, "Access-Control-Request-Method": "GET"}
    # The framework's app is created by the first request.
    await world.anonymous.request("OPTIONS", "/v1/badge", headers=preflight)
    lines = await reload(world, cors_origins=(origin,))
    answers = [
        await world.anonymous.request("GET", "/v1/badge", headers={"Origin": origin}),
        await world.anonymous.request("OPTIONS", "/v1/badge", headers=preflight),
    ]

    assert [("settings reloaded", ["cors_origins"])] == lines
    for answer in answers:
        assert origin == answer.headers["access-control-allow-origin"]


async def test_key_file_is_read_again(autojump_clock, nursery, tmp_path):
    """The log names the file if it has another content."""
    file = tmp_path / "keys.json"
    keys = [
        {"kty": "OKP", "crv": "Ed25519", "x": x * 42 + "A", "kid": x} for x in "ABC"
    ]
    file.write_text(json.dumps({"keys": keys[:1]}))
    before = attrs.evolve(settings(), jwks=str(file), jwt_secret=None)
    built = service.build(before, clock=wall_clock)
    await nursery.start(built.run)
    world = RunningService(built, AsgiClient(built.app))

    assert [("settings reloaded", [])] == await reload(world, before)
    file.write_text(json.dumps({"keys": keys[1:]}))
    assert [("settings reloaded", ["jwks"])] == await reload(world, before)
    assert [("settings reloaded", [])] == await reload(world, before)


async def test_other_changes_are_named(autojump_clock, world):
    """The log says which changes a reload cannot make."""
    lines = await reload(world, ping=7.0, cors_origins=("https://a.example",))

    assert lines == [
        ("settings reloaded", ["cors_origins"]),
        ("settings need a restart", ["ping"]),
    ]


async def test_another_kind_of_key_needs_a_restart(autojump_clock, world, tmp_path):
    """Tokens are verified as before."""
    lines = await reload(world, jwks=str(tmp_path / "keys.json"), jwt_secret=None)

    assert lines == [
        ("settings reloaded", []),
        ("settings need a restart", ["jwt_secret", "jwks"]),
    ]
    assert 0 == (await world.badge("alice"))["unread"]


async def test_unusable_secret_changes_nothing(autojump_clock, world):
    """All settings stay if one of them cannot be used."""
    with pytest.raises(ValueError, match="32 or more bytes"):
        await reload(world, producer_keys=(OTHER_KEY,), jwt_secret=("short",))

    assert 200 == await status_of(world, KEY)
