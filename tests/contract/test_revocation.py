"""Disconnecting, revoking and forgetting a user."""

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
    """All streams of the user are told bye, and nobody else's."""
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
    """The same proof may come back at once."""
    alice = world.user()
    await trio.sleep(1)
    await _disconnect(world)

    assert (await alice.request("GET", "/v1/badge")).status == 200
    async with alice.stream("/v1/stream") as stream:
        assert "hello" == (await stream.next_event()).type


@pytest.mark.parametrize(("method", "target", "content"), USER_CALLS.values())
async def test_revoked_proof_is_401_on_every_call(
    autojump_clock, world, method, target, content
):
    """What was issued before is refused from now on."""
    alice = world.user()
    await trio.sleep(1)
    await _revoke(world)
    answer = await alice.request(method, target, body=content)

    assert body(answer, 401)["type"] == "urn:roundel:problem:revoked"
    assert answer.headers["www-authenticate"] == "Bearer"


async def test_revoked_cookie_is_401_too(autojump_clock, world):
    """It makes no difference how a proof is presented."""
    token = world.service.authenticator.sign("alice", ttl=600)
    await trio.sleep(1)
    await _revoke(world)
    browser = world.anonymous.with_headers({"Cookie": f"roundel={token}"})

    assert (await browser.request("GET", "/v1/badge")).status == 401


async def test_revoked_proof_is_204_on_the_stream(autojump_clock, world):
    """A logged-out browser is told never to come back."""
    alice = world.user()
    await trio.sleep(1)
    await _revoke(world)
    answer = await alice.request("GET", "/v1/stream")

    assert (204, b"") == (answer.status, answer.body)


async def test_revocation_ends_the_streams(autojump_clock, world):
    """Revoking disconnects as well."""
    async with world.user().stream("/v1/stream") as stream:
        await stream.next_event()
        await stream.next_event()
        await trio.sleep(1)
        await _revoke(world)

        assert "revoked" == data(await stream.next_event())["reason"]


@pytest.mark.parametrize(("method", "target", "content"), USER_CALLS.values())
async def test_proof_issued_after_the_revocation_is_good(
    autojump_clock, world, method, target, content
):
    """Whoever logs in again is let in."""
    await _revoke(world)
    await trio.sleep(1)
    answer = await world.user().request(method, target, body=content)

    assert answer.status == 200


async def test_proof_without_iat_is_refused(autojump_clock, world):
    """A proof that cannot say it is newer is taken for older."""
    exp = world.service.hub.clock() + 9_000
    token = world.service.authenticator.keys.sign({"sub": "alice", "exp": exp})
    alice = world.anonymous.with_headers({"Authorization": f"Bearer {token}"})
    before = await alice.request("GET", "/v1/badge")
    await _revoke(world)

    assert 200 == before.status
    assert (await alice.request("GET", "/v1/badge")).status == 401


async def test_revocation_is_of_one_user(autojump_clock, world):
    """Nobody else's proof is touched."""
    bob = world.user("bob")
    await trio.sleep(1)
    await _revoke(world)

    assert (await bob.request("GET", "/v1/badge")).status == 200


async def test_revocation_is_remembered_for_a_day(autojump_clock, world):
    """For 24 h no old proof is let in, and then it is forgotten."""
    alice = world.user(ttl=200_000)
    await trio.sleep(1)
    await _revoke(world)
    autojump_clock.jump(86_399)
    within = await alice.request("GET", "/v1/badge")
    await trio.sleep(2)
    after = await alice.request("GET", "/v1/badge")

    assert (401, 200) == (within.status, after.status)


async def test_later_disconnect_does_not_take_a_revocation_back(autojump_clock, world):
    """What is refused stays so, whatever is called afterwards."""
    alice = world.user()
    await trio.sleep(1)
    await _revoke(world)
    await _disconnect(world)
    await world.producer.request("DELETE", "/v1/users/alice")

    assert (await alice.request("GET", "/v1/badge")).status == 401


async def test_ticket_of_a_revoked_proof_opens_nothing(autojump_clock, world):
    """What was had by a proof goes with it; a producer's ticket as well."""
    users = body(await post(world.user(), "/v1/tickets", {}))["url"]
    producers = body(await post(world.producer, "/v1/tickets", {"user": "alice"}))
    await trio.sleep(1)
    await _revoke(world)
    one = await world.anonymous.request("GET", users)
    two = await world.anonymous.request("GET", producers["url"])

    assert (204, 204) == (one.status, two.status)


async def test_held_answer_is_not_given_to_a_proof_that_was_revoked_meanwhile(
    autojump_clock, world
):
    """Who waits for a change is told nothing any more."""
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


async def test_held_answer_does_not_outlive_its_proof(autojump_clock, world):
    """The wait ends with the proof at the latest."""
    alice = world.user(ttl=20)
    tag = (await alice.request("GET", "/v1/badge")).headers["etag"]
    headers = {"If-None-Match": tag}
    answer = await alice.request("GET", "/v1/badge?wait=60", headers=headers)

    assert 304 == answer.status
    assert trio.current_time() == pytest.approx(20)


@pytest.mark.parametrize("revoke", [False, True])
async def test_disconnect_answers_what_it_did(autojump_clock, world, revoke):
    """The answer names the user, and whether proofs were revoked."""
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
    """What is not understood neither disconnects nor revokes."""
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


async def test_forgotten_user_begins_another_epoch(autojump_clock, world):
    """All that there was is gone, and no client mistakes it for the same line."""
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


async def test_streams_of_a_forgotten_user_are_reset(autojump_clock, world):
    """A running stream is told to forget everything, and goes on."""
    await world.notify()
    async with world.user().stream("/v1/stream") as stream:
        await stream.next_event()
        await stream.next_event()
        await world.producer.request("DELETE", "/v1/users/alice")
        reset = await stream.next_event()
        state = await stream.next_event()

        assert ("reset", "badge") == (reset.type, state.type)
        assert 0 == data(state)["unread"]


async def test_forgetting_is_of_one_user(autojump_clock, world):
    """The others keep what they have."""
    await world.notify("bob")
    await world.producer.request("DELETE", "/v1/users/alice")

    assert (await world.badge("bob"))["unread"] == 1


async def test_forgotten_user_is_explained_by_nothing(autojump_clock, world):
    """No trace of an item stays where producers look."""
    item = (await world.notify(key="secret-key"))["item"]
    await world.producer.request("DELETE", "/v1/users/alice")
    answer = await world.producer.request("GET", "/v1/users/alice/explain")

    assert [] == body(answer)["operations"]
    assert item.encode() not in answer.body
