"""`Idempotency-Key`: a repeated call takes effect once."""

from __future__ import annotations

import json

import pytest
import trio

from support.service import KEY, body, post

NOTE = {"to": {"user": "alice"}, "title": "Hello"}


async def _notify(world, document, key, status=200):
    headers = {"Idempotency-Key": key}
    return body(await post(world.producer, "/v1/notify", document, **headers), status)


async def test_same_key_and_body_gets_the_first_response(autojump_clock, world):
    """A repeated call gets the first response, whatever happened in between."""
    first = await _notify(world, NOTE, "k")
    await world.notify()
    again = await _notify(world, NOTE, "k")

    assert first == again
    assert (await world.badge())["v"] == 2


async def test_body_is_the_same_however_it_is_written(autojump_clock, world):
    """White space and the order of fields do not matter."""
    first = await _notify(world, NOTE, "k")
    text = b' {"title": "H\\u0065llo",\n "to":{"user":"alice"} } '
    headers = {"Idempotency-Key": "k"}
    again = await world.producer.request(
        "POST", "/v1/notify", body=text, headers=headers
    )

    assert first == body(again)


async def test_same_key_with_another_body_is_409(autojump_clock, world):
    """A key reused for another body is rejected, and nothing takes effect."""
    await _notify(world, NOTE, "k")
    problem = await _notify(world, {**NOTE, "title": "Other"}, "k", 409)

    assert problem["type"] == "urn:roundel:problem:idempotency-key-reused"
    assert (await world.badge())["v"] == 1


async def test_same_key_for_other_recipients_is_409(autojump_clock, world):
    """The recipients are part of the body."""
    await _notify(world, NOTE, "k")
    await _notify(world, {**NOTE, "to": {"user": "bob"}}, "k", 409)

    assert (await world.badge("bob"))["v"] == 0


async def test_other_key_is_another_call(autojump_clock, world):
    """Keys are compared case-sensitively."""
    for key in ("k", "K", "k2"):
        await _notify(world, NOTE, key)

    assert (await world.badge())["v"] == 3


async def test_key_holds_for_a_day(autojump_clock, world):
    """Within 24 h a repeated call is a repeat."""
    first = await _notify(world, NOTE, "k")
    autojump_clock.jump(86_399)

    assert first == await _notify(world, NOTE, "k")


async def test_key_is_new_after_a_day(autojump_clock, world):
    """After 24 h the same key is new, for any body."""
    await _notify(world, NOTE, "k")
    autojump_clock.jump(86_401)
    later = await _notify(world, {**NOTE, "title": "Other"}, "k")

    assert later["results"][0]["v"] == 2


async def test_each_recipient_gets_the_first_result(autojump_clock, world):
    """With many recipients, every result is the first one."""
    note = {**NOTE, "to": {"users": ["alice", "bob"]}}
    first = await _notify(world, note, "k")
    await world.notify("bob")
    again = await _notify(world, note, "k")

    assert first == again
    assert (await world.badge("bob"))["v"] == 2


async def test_response_survives_the_item(autojump_clock, world):
    """A repeat does not restore an item that was read, retracted or replaced."""
    first = await _notify(world, {**NOTE, "source": "s", "key": "x"}, "k")
    await world.producer.request("DELETE", "/v1/items?source=s")
    again = await _notify(world, {**NOTE, "source": "s", "key": "x"}, "k")

    assert first == again
    assert (await world.badge())["unread"] == 0


async def test_two_calls_at_the_same_time_take_effect_once(autojump_clock, world):
    """A retry that overtakes its first call is a repeat of it."""
    answers = []

    async def call() -> None:
        answers.append(await _notify(world, NOTE, "k"))

    async with trio.open_nursery() as nursery:
        for _ in range(5):
            nursery.start_soon(call)

    assert [answers[0]] * 5 == answers
    assert (await world.badge())["v"] == 1


async def test_key_holds_for_all_producers(autojump_clock, make_world):
    """A retry with another producer key, during a key rotation, is a repeat."""
    world = make_world(producer_keys=f"{KEY},the-other-producer")
    other = world.anonymous.with_headers({"Authorization": "Bearer the-other-producer"})
    first = await _notify(world, NOTE, "k")
    again = body(await post(other, "/v1/notify", NOTE, **{"Idempotency-Key": "k"}))

    assert first == again


async def test_rejected_request_does_not_claim_the_key(autojump_clock, world):
    """A corrected body may use the same key."""
    await _notify(world, {**NOTE, "titel": "x"}, "k", 422)
    await _notify(world, {**NOTE, "body": "x" * 8_200}, "k", 413)

    assert (await _notify(world, NOTE, "k"))["results"][0]["v"] == 1


async def test_op_id_of_a_user_is_no_key_of_a_producer(autojump_clock, world):
    """The ids of users and the keys of producers are separate."""
    ops = {"op_id": "k", "ops": [{"read_all": True, "as_of": 99}]}
    await post(world.user(), "/v1/ops", ops)
    added = await _notify(world, NOTE, "k")

    assert added["results"][0]["badge"]["unread"] == 1


@pytest.mark.parametrize("key", ["!", "~", "a" * 255, "k,1;x=\"'"])
async def test_key_within_the_limits_is_accepted(autojump_clock, world, key):
    """A key is any visible ASCII, up to 255 characters."""
    first = await _notify(world, NOTE, key)

    assert first == await _notify(world, NOTE, key)


BAD_KEYS = {
    "empty": "",
    "long": "a" * 256,
    "space": "a b",
    "tab": "a\tb",
    "not-ascii": "clé",
    "delete": "\x7f",
    "twice": ["a", "a"],
}


@pytest.mark.parametrize("path", ["/v1/notify", "/v1/batch"])
@pytest.mark.parametrize("key", BAD_KEYS.values(), ids=BAD_KEYS)
async def test_bad_key_is_422_by_name(autojump_clock, world, key, path):
    """An invalid key is rejected, and nothing takes effect."""
    headers = {"Idempotency-Key": key}
    text = json.dumps(NOTE).encode()
    answer = await world.producer.request("POST", path, body=text, headers=headers)

    assert ["Idempotency-Key"] == [e["field"] for e in body(answer, 422)["errors"]]
    assert (await world.badge())["v"] == 0
