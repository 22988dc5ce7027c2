"""`POST /v1/batch`: a notification a line, a result a line, streaming both ways."""

from __future__ import annotations

import json

import pytest
import trio
from trio.testing import wait_all_tasks_blocked

from support.service import body


def line(user="alice", **fields) -> bytes:
    return (
        json.dumps({"to": {"user": user}, "title": "Hello", **fields}).encode() + b"\n"
    )


def told(content: bytes) -> list:
    assert content == b"" or content.endswith(b"\n")
    return [json.loads(text) for text in content.splitlines()]


def numbers(content: bytes) -> list:
    """Return the version of each result, or the status of each problem."""
    return [
        document["results"][0]["v"] if "results" in document else document["status"]
        for document in told(content)
    ]


async def _batch(world, content, **headers):
    answer = await world.producer.request(
        "POST", "/v1/batch", body=content, headers=headers
    )
    assert answer.status == 200, answer.body
    return answer


async def test_batch_answers_a_line_for_each_line_in_order(autojump_clock, world):
    """Results are those of notify, in the order of the lines."""
    content = line("bob") + line("alice") + line("bob")
    answer = await _batch(world, content)
    results = [document["results"] for document in told(answer.body)]

    assert [["bob"], ["alice"], ["bob"]] == [[r["user"] for r in rs] for rs in results]
    assert [1, 1, 2] == numbers(answer.body)
    assert answer.headers["content-type"] == "application/x-ndjson"
    assert "content-length" not in answer.headers


async def test_line_is_a_whole_notify(autojump_clock, world):
    """A line may be for many users, with all that notify takes."""
    to = {"users": ["alice", "bob"]}
    (document,) = told((await _batch(world, line(to=to, category="dm"))).body)

    assert ["alice", "bob"] == [result["user"] for result in document["results"]]
    assert (await world.badge("bob"))["by"] == {"dm": {"unread": 1, "unseen": 1}}


async def test_lines_for_one_user_take_effect_in_order(autojump_clock, world):
    """Of lines that replace each other the last one stays."""
    content = b"".join(line(key="k", title=str(number)) for number in range(100))
    answer = await _batch(world, content)
    (item,) = body(await world.user().request("GET", "/v1/items"))["items"]

    assert list(range(1, 101)) == numbers(answer.body)
    assert "99" == item["title"]


async def test_first_result_arrives_before_the_last_line_is_sent(autojump_clock, world):
    """A batch streams both ways, line by line."""
    sender, content = trio.open_memory_channel[bytes](0)
    async with world.producer.open("POST", "/v1/batch", body=content) as answer:
        for number in (1, 2, 3):
            await sender.send(line())

            assert [number] == numbers(await answer.next_chunk())
        sender.close()

        assert not await answer.next_chunk()


async def test_line_is_answered_as_soon_as_it_ends(autojump_clock, world):
    """Where the pieces of a body are cut makes no difference."""
    sender, content = trio.open_memory_channel[bytes](0)
    async with world.producer.open("POST", "/v1/batch", body=content) as answer:
        await sender.send(line() + line()[:20])

        assert [1] == numbers(await answer.next_chunk())
        await sender.send(line()[20:])

        assert [2] == numbers(await answer.next_chunk())
        sender.close()


async def test_batch_is_the_same_byte_by_byte(autojump_clock, world):
    """Lines are put together from pieces of any size."""
    content = line() + b"\n{\n" + line(body="…")

    async def pieces():
        for byte in content:
            yield bytes([byte])

    assert [1, 400, 2] == numbers((await _batch(world, pieces())).body)


async def test_fast_sender_waits_for_a_slow_reader(autojump_clock, world):
    """Nothing gathers in the service: who does not read is not read from."""
    sent = 0

    async def pieces():
        nonlocal sent
        for sent in range(1, 1_001):  # noqa: B007, it is read outside
            yield line()

    async with world.producer.open("POST", "/v1/batch", body=pieces()) as answer:
        await wait_all_tasks_blocked()
        first = sent
        await answer.next_chunk()
        await trio.sleep(100)

        assert first <= 5
        assert sent <= first + 2


async def test_slow_reader_is_not_taken_for_a_slow_sender(autojump_clock, world):
    """However long its results wait, the batch goes on."""

    async def pieces():
        for _ in range(5):
            yield line()

    results = []
    async with world.producer.open("POST", "/v1/batch", body=pieces()) as answer:
        while piece := await answer.next_chunk():
            results += numbers(piece)
            await trio.sleep(60)

    assert [1, 2, 3, 4, 5] == results


BAD_LINES = {
    "no-json": (b"{\n", 400),
    "not-utf8": (b'{"title":"\xff"}\n', 400),
    "no-object": (b"[]\n", 422),
    "unknown-field": (line(nope=1), 422),
    "no-user": (b'{"title":"x"}\n', 422),
    "user-name": (line("no good"), 422),
    "large-item": (line(body="x" * 9_000), 413),
    "long-line": (line(body="x" * 70_000), 413),
}


@pytest.mark.parametrize(("bad", "status"), BAD_LINES.values(), ids=BAD_LINES)
async def test_bad_line_is_a_problem_in_its_place(autojump_clock, world, bad, status):
    """A line that is refused stops none of the others."""
    answer = await _batch(world, line() + bad + line())
    problem = told(answer.body)[1]

    assert [1, status, 2] == numbers(answer.body)
    assert {"type", "title", "status", "detail"} <= problem.keys()
    assert (status == 422) is ("errors" in problem)


async def test_line_names_its_bad_fields(autojump_clock, world):
    """A problem in a batch says as much as one of notify."""
    (problem,) = told((await _batch(world, line(titel="x", ttl=0))).body)

    assert ["ttl", "titel"] == [error["field"] for error in problem["errors"]]


async def test_line_that_is_too_long_is_told_before_it_ends(autojump_clock, world):
    """A line without an end is refused at its bound, and not kept."""
    sender, content = trio.open_memory_channel[bytes](0)
    async with world.producer.open("POST", "/v1/batch", body=content) as answer:
        await sender.send(b"x" * 65_537)

        assert [413] == numbers(await answer.next_chunk())
        for _ in range(20):
            await sender.send(b"x" * 65_536)
        await sender.send(b"\n" + line())

        assert [1] == numbers(await answer.next_chunk())
        sender.close()


async def test_line_of_64_kib_is_taken(autojump_clock, world):
    """The bound of a line leaves room for a thousand recipients."""
    users = [f"user-{number:049}" for number in range(1_000)]
    content = line(to={"users": users})
    (document,) = told((await _batch(world, content)).body)

    assert 55_000 < len(content) < 65_536
    assert 1_000 == len(document["results"])


BLANKS = {
    "none": (b"", []),
    "end": (b"\n", []),
    "between": (b"\n\n" + line() + b"\n \t\n" + line(), [1, 2]),
    "crlf": (line().replace(b"\n", b"\r\n") * 2 + b"\r\n", [1, 2]),
    "no-end": (line() + line().rstrip(), [1, 2]),
}


@pytest.mark.parametrize(("content", "expected"), BLANKS.values(), ids=BLANKS)
async def test_blank_line_is_no_line(autojump_clock, world, content, expected):
    """Nothing is answered to a blank line, and the last line needs no end."""
    assert expected == numbers((await _batch(world, content)).body)


async def test_body_that_does_not_go_on_ends_with_a_408_line(autojump_clock, world):
    """What came is answered, and then why there is no more."""

    async def pieces():
        yield line() + b'{"to":'
        await trio.sleep(31)
        yield b"never"

    answer = await _batch(world, pieces())

    assert [1, 408] == numbers(answer.body)
    assert trio.current_time() == pytest.approx(30)
    assert (await world.badge())["v"] == 1


async def test_batch_may_last_as_long_as_lines_come(autojump_clock, world):
    """Only the wait for the next line is bounded."""

    async def pieces():
        for _ in range(5):
            await trio.sleep(29)
            yield line()

    answer = await _batch(world, pieces())

    assert [1, 2, 3, 4, 5] == numbers(answer.body)


async def test_line_that_comes_in_drops_is_too_slow(autojump_clock, world):
    """A line has its time as a whole: drops of it do not begin another."""

    async def pieces():
        for byte in line():
            await trio.sleep(1)
            yield bytes([byte])

    answer = await _batch(world, pieces())

    assert [408] == numbers(answer.body)


async def test_sender_that_disconnects_has_done_what_was_answered(
    autojump_clock, world
):
    """Whole lines took effect, a torn one did not, and nothing goes on."""
    sender, content = trio.open_memory_channel[bytes](0)
    async with world.producer.open("POST", "/v1/batch", body=content) as answer:
        await sender.send(line() + line().rstrip())
        await answer.next_chunk()
    await trio.sleep(60)

    assert (await world.badge())["v"] == 1


async def test_batch_may_be_larger_than_a_plain_body(autojump_clock, world):
    """A batch has no bound as a whole: only its lines have."""
    content = line(body="x" * 7_000, key="k") * 200
    answer = await _batch(world, content, **{"Content-Length": str(len(content))})

    assert len(content) > 1 << 20
    assert list(range(1, 201)) == numbers(answer.body)


async def test_line_for_many_says_whose_failed(autojump_clock, world):
    """A per-recipient problem is within the line's results."""
    for number in range(64):
        await world.notify("bob", category=f"c{number}")
    content = line(to={"users": ["alice", "bob"]}, category="new") + line("bob")
    many, one = told((await _batch(world, content)).body)

    assert 1 == many["results"][0]["v"]
    assert 422 == many["results"][1]["problem"]["status"]
    assert 422 == one["status"]


async def test_repeated_batch_does_nothing_again(autojump_clock, world):
    """An Idempotency-Key holds for each line by its number."""
    key = {"Idempotency-Key": "k"}
    first = await _batch(world, line() + line("bob"), **key)
    again = await _batch(world, line() + line("bob") + line(), **key)

    assert [1, 1] == numbers(first.body)
    assert told(first.body) == told(again.body)[:2]
    assert [1, 1, 2] == numbers(again.body)


async def test_repeated_batch_with_another_line_is_a_409_line(autojump_clock, world):
    """The line that is another is refused, those that are not are repeated."""
    key = {"Idempotency-Key": "k"}
    await _batch(world, line() + line(), **key)
    again = await _batch(world, line() + line("bob"), **key)

    assert [1, 409] == numbers(again.body)


async def test_batch_that_is_too_fast_is_held_back(autojump_clock, make_world):
    """A producer over its rate is read from more slowly, and is refused nothing."""
    world = make_world(producer_rate="1")
    answer = await _batch(world, line() * 10)

    assert list(range(1, 11)) == numbers(answer.body)
    assert 8 <= trio.current_time() <= 10


async def test_batch_needs_a_producers_proof(autojump_clock, world):
    """Nobody is 401 and a user 403, before a line is read."""
    nobody = await world.anonymous.request("POST", "/v1/batch", body=line())
    user = await world.user().request("POST", "/v1/batch", body=line())

    assert (401, 403) == (nobody.status, user.status)
    assert (await world.badge())["v"] == 0
