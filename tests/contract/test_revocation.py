"""Disconnecting, revoking and deleting a user."""

from __future__ import annotations

import pytest
import trio

from support.service import body, data, post

USER_CALLS = {
    "badge": ("GET", "/v1/badge", b""),
    "items": ("GET", "/v1/items", b""),
    "ops": ("POST", "/v1/ops", b'{"op_id":"a","ops":[{"seen_upto":1}]}'),
    "ticket": ("POST", "/v1/tickets", b"{}"),
}


async def _disconnect(world, user="alice", **fields):
    return body(await post(world.producer, f"/v1/users/{user}/disconnect", fields))


async def _revoke(world):
    return await _disconnect(world, revoke=True)


async def test_disconnect_ends_the_users_streams(autojump_clock, world):
    """All streams of the user end with `bye`; other users' streams stay."""
    async with (
        world.user("alice").stream("/v1/stream") as one,
        world.user("alice").stream("/v1/stream?level=items") as two,
        world.user("bob").stream("/v1/stream") as other,
    ):
        for stream in (one, two, other):
            await stream.next_event()
            await stream.next_event()
        await _disconnect(world)

        for stream in (one, two):
            bye = await stream.next_event()
            assert ("bye", "revoked") == (bye.type, data(bye)["reason"])
            assert await stream.next_event() is None
        await world.notify("bob")
        assert "badge" == (await other.next_event()).type


async def test_disconnect_alone_revokes_nothing(autojump_clock, world):
    """The same credential may reconnect at once."""
    alice = world.user()
    await trio.sleep(1)
    await _disconnect(world)

    assert (await alice.request("GET", "/v1/badge")).status == 200
    async with alice.stream("/v1/stream") as stream:
        assert "hello" == (await stream.next_event()).type


@pytest.mark.parametrize(("method", "target", "content"), USER_CALLS.values())
async def test_revoked_token_is_401_on_every_call(
    autojump_clock, world, method, target, content
):
    """A credential issued before the revocation is rejected."""
    alice = world.user()
    await trio.sleep(1)
    await _revoke(world)
    answer = await alice.request(method, target, body=content)

    assert body(answer, 401)["type"] == "urn:roundel:problem:revoked"
    assert answer.headers["www-authenticate"] == "Bearer"


async def test_revoked_cookie_is_401_too(autojump_clock, world):
    """A cookie is rejected as a bearer token is."""
    token = world.service.authenticator.sign("alice", ttl=600)
    await trio.sleep(1)
    await _revoke(world)
    browser = world.anonymous.with_headers({"Cookie": f"roundel={token}"})

    assert (await browser.request("GET", "/v1/badge")).status == 401


async def test_revoked_token_is_204_on_the_stream(autojump_clock, world):
    """A browser does not reconnect after a 204."""
    alice = world.user()
    await trio.sleep(1)
    await _revoke(world)
    answer = await alice.request("GET", "/v1/stream")

    assert (204, b"") == (answer.status, answer.body)


async def test_revocation_ends_the_streams(autojump_clock, world):
    """A revocation disconnects, too."""
    async with world.user().stream("/v1/stream") as stream:
        await stream.next_event()
        await stream.next_event()
        await trio.sleep(1)
        await _revoke(world)

        assert "revoked" == data(await stream.next_event())["reason"]


@pytest.mark.parametrize(("method", "target", "content"), USER_CALLS.values())
async def test_token_issued_after_the_revocation_is_accepted(
    autojump_clock, world, method, target, content
):
    """A new login is accepted."""
    await _revoke(world)
    await trio.sleep(1)
    answer = await world.user().request(method, target, body=content)

    assert answer.status == 200


async def test_token_without_iat_is_rejected(autojump_clock, world):
    """A token without `iat` counts as issued before the revocation."""
    exp = world.service.hub.clock() + 9_000
    token = world.service.authenticator.keys.sign({"sub": "alice", "exp": exp})
    alice = world.anonymous.with_headers({"Authorization": f"Bearer {token}"})
    before = await alice.request("GET", "/v1/badge")
    await _revoke(world)

    assert 200 == before.status
    assert (await alice.request("GET", "/v1/badge")).status == 401


async def test_revocation_is_per_user(autojump_clock, world):
    """Other users' credentials stay valid."""
    bob = world.user("bob")
    await trio.sleep(1)
    await _revoke(world)

    assert (await bob.request("GET", "/v1/badge")).status == 200


async def test_revocation_is_remembered_for_a_day(autojump_clock, world):
    """An old credential is rejected for 24 h."""
    alice = world.user(ttl=200_000)
    await trio.sleep(1)
    await _revoke(world)
    autojump_clock.jump(86_399)
    during = await alice.request("GET", "/v1/badge")
    await trio.sleep(2)
    after = await alice.request("GET", "/v1/badge")

    assert (401, 200) == (during.status, after.status)


async def test_later_disconnect_keeps_the_revocation(autojump_clock, world):
    """A disconnect without `revoke` keeps an earlier revocation."""
    alice = world.user()
    await trio.sleep(1)
    await _revoke(world)
    await _disconnect(world)

    assert (await alice.request("GET", "/v1/badge")).status == 401


async def test_long_poll_of_a_revoked_token_is_401(autojump_clock, world):
    """A credential revoked during the wait gets a 401."""
    alice = world.user()
    tag = (await alice.request("GET", "/v1/badge")).headers["etag"]
    answers = []

    async def poll() -> None:
        headers = {"If-None-Match": tag}
        target = "/v1/badge?wait=60"
        answers.append(await alice.request("GET", target, headers=headers))

    async with trio.open_nursery() as nursery:
        nursery.start_soon(poll)
        await trio.sleep(1)
        await _revoke(world)
        await world.notify()

    assert 401 == answers[0].status


async def test_long_poll_ends_with_its_token(autojump_clock, world):
    """The wait ends when the token expires at the latest."""
    alice = world.user(ttl=20)
    tag = (await alice.request("GET", "/v1/badge")).headers["etag"]
    headers = {"If-None-Match": tag}
    answer = await alice.request("GET", "/v1/badge?wait=60", headers=headers)

    assert 304 == answer.status
    assert trio.current_time() == pytest.approx(20)


@pytest.mark.parametrize("revoke", [False, True])
async def test_disconnect_response(autojump_clock, world, revoke):
    """The response names the user, and whether credentials were revoked."""
    answer = await _disconnect(world, revoke=revoke)

    assert {"user": "alice", "revoked": revoke} == answer


BAD = {
    "empty": (b"", 400, []),
    "null": (b"null", 422, ["body"]),
    "unknown": (b'{"revoked":true}', 422, ["revoked"]),
    "text": (b'{"revoke":"true"}', 422, ["revoke"]),
    "number": (b'{"revoke":1}', 422, ["revoke"]),
}


@pytest.mark.parametrize(("content", "status", "fields"), BAD.values(), ids=BAD)
async def test_bad_disconnect_ends_nothing(
    autojump_clock, world, content, status, fields
):
    """A rejected request neither disconnects nor revokes."""
    alice = world.user()
    await trio.sleep(1)
    target = "/v1/users/alice/disconnect"
    async with alice.stream("/v1/stream") as stream:
        await stream.next_event()
        await stream.next_event()
        answer = await world.producer.request("POST", target, body=content)
        problem = body(answer, status)
        await world.notify()

        assert "badge" == (await stream.next_event()).type
        assert fields == [error["field"] for error in problem.get("errors", [])]


# DELETE /v1/users/{user}


async def test_deleted_user_has_another_epoch(autojump_clock, world):
    """All items are removed, and clients see a new epoch."""
    before = await world.notify(source="s")
    await world.producer.request(
        "PUT", "/v1/users/alice/gauges/c", body=b'{"count":1,"source_version":9}'
    )
    answer = body(await world.producer.request("DELETE", "/v1/users/alice"))
    items = body(await world.user().request("GET", "/v1/items?state=all"))["items"]
    badge = await world.badge()

    assert before["epoch"] != badge["epoch"]
    assert {"user": "alice", "epoch": badge["epoch"], "v": 0, "badge": badge} == answer
    assert (0, {}, []) == (badge["unread"], badge["by"], items)


async def test_streams_of_a_deleted_user_are_reset(autojump_clock, world):
    """A running stream gets `reset`, and stays open."""
    await world.notify()
    async with world.user().stream("/v1/stream") as stream:
        await stream.next_event()
        await stream.next_event()
        await world.producer.request("DELETE", "/v1/users/alice")
        reset = await stream.next_event()
        state = await stream.next_event()

        assert ("reset", "badge") == (reset.type, state.type)
        assert 0 == data(state)["unread"]


async def test_deletion_is_per_user(autojump_clock, world):
    """Other mailboxes are unchanged."""
    await world.notify("bob")
    await world.producer.request("DELETE", "/v1/users/alice")

    assert (await world.badge("bob"))["unread"] == 1


async def test_deleted_user_has_an_empty_explanation(autojump_clock, world):
    """No trace of an item stays in the explanation."""
    item = (await world.notify(key="secret-key"))["item"]
    await world.producer.request("DELETE", "/v1/users/alice")
    answer = await world.producer.request("GET", "/v1/users/alice/explain")

    assert [] == body(answer)["operations"]
    assert item.encode() not in answer.body
