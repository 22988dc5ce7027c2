"""`POST /v1/batch`: one notification and one result per line, streamed both ways."""

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


def documents_of(content: bytes) -> list:
    assert content == b"" or content.endswith(b"\n")
    return [json.loads(text) for text in content.splitlines()]


def numbers(content: bytes) -> list:
    """Return the version of each result, or the status of each problem."""
    return [
        document["results"][0]["v"] if "results" in document else document["status"]
        for document in documents_of(content)
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
    results = [document["results"] for document in documents_of(answer.body)]

    assert [["bob"], ["alice"], ["bob"]] == [[r["user"] for r in rs] for rs in results]
    assert [1, 1, 2] == numbers(answer.body)
    assert answer.headers["content-type"] == "application/x-ndjson"
    assert "content-length" not in answer.headers


async def test_line_takes_everything_that_notify_takes(autojump_clock, world):
    """A line may name many users and every field of notify."""
    to = {"users": ["alice", "bob"]}
    (document,) = documents_of((await _batch(world, line(to=to, category="dm"))).body)

    assert ["alice", "bob"] == [result["user"] for result in document["results"]]
    assert (await world.badge("bob"))["by"] == {"dm": {"unread": 1, "unseen": 1}}


async def test_lines_for_one_user_take_effect_in_order(autojump_clock, world):
    """Of lines that replace each other, the last one stays."""
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
    """The boundaries of body chunks make no difference."""
    sender, content = trio.open_memory_channel[bytes](0)
    async with world.producer.open("POST", "/v1/batch", body=content) as answer:
        await sender.send(line() + line()[:20])

        assert [1] == numbers(await answer.next_chunk())
        await sender.send(line()[20:])

        assert [2] == numbers(await answer.next_chunk())
        sender.close()


async def test_batch_is_the_same_byte_by_byte(autojump_clock, world):
    """Lines are assembled from chunks of any size."""
    content = line() + b"\n{\n" + line(body="…")

    async def chunks():
        for byte in content:
            yield bytes([byte])

    assert [1, 400, 2] == numbers((await _batch(world, chunks())).body)


async def test_fast_sender_waits_for_a_slow_reader(autojump_clock, world):
    """A client that does not read its results is not read from."""
    sent = 0

    async def chunks():
        nonlocal sent
        for sent in range(1, 1_001):  # noqa: B007, it is read outside
            yield line()

    async with world.producer.open("POST", "/v1/batch", body=chunks()) as answer:
        await wait_all_tasks_blocked()
        first = sent
        await answer.next_chunk()
        await trio.sleep(100)

        assert first <= 5
        assert sent <= first + 2


async def test_slow_reader_is_not_taken_for_a_slow_sender(autojump_clock, world):
    """A batch continues however long its results wait to be read."""

    async def chunks():
        for _ in range(5):
            yield line()

    results = []
    async with world.producer.open("POST", "/v1/batch", body=chunks()) as answer:
        while chunk := await answer.next_chunk():
            results += numbers(chunk)
            await trio.sleep(60)

    assert [1, 2, 3, 4, 5] == results


async def test_bad_name_within_a_line(autojump_clock, world):
    """The other recipients of the line are notified."""
    content = (
        line("#no") + line("alice") + b'{"to":{"users":["#no","bob"]},"title":"x"}'
    )
    answer = await world.producer.request("POST", "/v1/batch", body=content)
    one, two, three = map(json.loads, answer.body.splitlines())

    assert (422, "alice") == (one["status"], two["results"][0]["user"])
    assert ["#no", "bob"] == [result["user"] for result in three["results"]]
    assert 422 == three["results"][0]["problem"]["status"]
    assert 1 == (await world.badge("bob"))["v"]


BAD_LINES = {
    "no-json": (b"{\n", 400),
    "not-utf8": (b'{"title":"\xff"}\n', 400),
    "no-object": (b"[]\n", 422),
    "unknown-field": (line(nope=1), 422),
    "no-user": (b'{"title":"x"}\n', 422),
    "user-name": (line("#no"), 422),
    "large-item": (line(body="x" * 9_000), 413),
    "long-line": (line(body="x" * 70_000), 413),
}


@pytest.mark.parametrize(("bad", "status"), BAD_LINES.values(), ids=BAD_LINES)
async def test_bad_line_is_a_problem_in_its_place(autojump_clock, world, bad, status):
    """A rejected line stops no other line."""
    answer = await _batch(world, line() + bad + line())
    problem = documents_of(answer.body)[1]

    assert [1, status, 2] == numbers(answer.body)
    assert {"type", "title", "status", "detail"} <= problem.keys()
    assert (status == 422) is ("errors" in problem)


async def test_line_names_its_bad_fields(autojump_clock, world):
    """A problem in a batch has the same fields as one of notify."""
    (problem,) = documents_of((await _batch(world, line(titel="x", ttl=-1))).body)

    assert ["ttl", "titel"] == [error["field"] for error in problem["errors"]]


async def test_too_long_line_is_rejected_before_it_ends(autojump_clock, world):
    """A line without an end is rejected at its size limit, and not kept."""
    sender, content = trio.open_memory_channel[bytes](0)
    async with world.producer.open("POST", "/v1/batch", body=content) as answer:
        await sender.send(b"x" * 65_537)

        assert [413] == numbers(await answer.next_chunk())
        for _ in range(20):
            await sender.send(b"x" * 65_536)
        await sender.send(b"\n" + line())

        assert [1] == numbers(await answer.next_chunk())
        sender.close()


async def test_line_of_64_kib_is_accepted(autojump_clock, world):
    """The size limit of a line leaves room for 1,000 recipients."""
    users = [f"user-{number:049}" for number in range(1_000)]
    content = line(to={"users": users})
    (document,) = documents_of((await _batch(world, content)).body)

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
async def test_blank_line_is_skipped(autojump_clock, world, content, expected):
    """A blank line has no result, and the last line needs no line end."""
    assert expected == numbers((await _batch(world, content)).body)


async def test_body_that_stalls_ends_with_a_408_line(autojump_clock, world):
    """The received lines have their results, then a 408 problem ends the response."""

    async def chunks():
        yield line() + b'{"to":'
        await trio.sleep(31)
        yield b"never"

    answer = await _batch(world, chunks())

    assert [1, 408] == numbers(answer.body)
    assert trio.current_time() == pytest.approx(30)
    assert (await world.badge())["v"] == 1


async def test_batch_may_last_as_long_as_lines_arrive(autojump_clock, world):
    """Only the wait for the next line has a timeout."""

    async def chunks():
        for _ in range(5):
            await trio.sleep(29)
            yield line()

    answer = await _batch(world, chunks())

    assert [1, 2, 3, 4, 5] == numbers(answer.body)


async def test_line_that_trickles_is_too_slow(autojump_clock, world):
    """The timeout is for the whole line: a few bytes do not restart it."""

    async def chunks():
        for byte in line():
            await trio.sleep(1)
            yield bytes([byte])

    answer = await _batch(world, chunks())

    assert [408] == numbers(answer.body)


async def test_disconnect_keeps_the_whole_lines(autojump_clock, world):
    """Whole lines took effect, an incomplete one did not, and no task stays."""
    sender, content = trio.open_memory_channel[bytes](0)
    async with world.producer.open("POST", "/v1/batch", body=content) as answer:
        await sender.send(line() + line().rstrip())
        await answer.next_chunk()
    await trio.sleep(60)

    assert (await world.badge())["v"] == 1


async def test_batch_may_be_larger_than_a_plain_body(autojump_clock, world):
    """A batch has no total size limit: only its lines have one."""
    content = line(body="x" * 7_000, key="k") * 200
    answer = await _batch(world, content, **{"Content-Length": str(len(content))})

    assert len(content) > 1 << 20
    assert list(range(1, 201)) == numbers(answer.body)


async def test_line_for_many_names_the_failed_recipient(autojump_clock, world):
    """A problem of one recipient is within the line's results."""
    for number in range(64):
        await world.notify("bob", category=f"c{number}")
    content = line(to={"users": ["alice", "bob"]}, category="new") + line("bob")
    many, one = documents_of((await _batch(world, content)).body)

    assert 1 == many["results"][0]["v"]
    assert 422 == many["results"][1]["problem"]["status"]
    assert 422 == one["status"]


async def test_repeated_batch_changes_nothing(autojump_clock, world):
    """An Idempotency-Key applies to each line by its number."""
    key = {"Idempotency-Key": "k"}
    first = await _batch(world, line() + line("bob"), **key)
    again = await _batch(world, line() + line("bob") + line(), **key)

    assert [1, 1] == numbers(first.body)
    assert documents_of(first.body) == documents_of(again.body)[:2]
    assert [1, 1, 2] == numbers(again.body)


async def test_repeated_batch_with_another_line_is_a_409_line(autojump_clock, world):
    """The changed line is rejected; the unchanged lines are repeated."""
    key = {"Idempotency-Key": "k"}
    await _batch(world, line() + line(), **key)
    again = await _batch(world, line() + line("bob"), **key)

    assert [1, 409] == numbers(again.body)


async def test_batch_above_the_rate_is_slowed_down(autojump_clock, make_world):
    """A producer above its rate is read more slowly, and no line is rejected."""
    world = make_world(producer_rate="1")
    answer = await _batch(world, line() * 10)

    assert list(range(1, 11)) == numbers(answer.body)
    assert 8 <= trio.current_time() <= 10


async def test_batch_needs_a_producer_key(autojump_clock, world):
    """Without credentials it is 401, as a user 403, before a line is read."""
    nobody = await world.anonymous.request("POST", "/v1/batch", body=line())
    user = await world.user().request("POST", "/v1/batch", body=line())

    assert (401, 403) == (nobody.status, user.status)
    assert (await world.badge())["v"] == 0


@pytest.mark.parametrize("separator", ["\x85", "\u2028", "\u2029"])
async def test_result_is_one_line_for_every_reader(autojump_clock, world, separator):
    """A problem that repeats the caller's text is one line, whatever the text is."""
    answer = await _batch(world, line(**{f"a{separator}b": 1}))
    (text,) = answer.body.decode().splitlines()

    assert f"a{separator}b" in json.dumps(json.loads(text), ensure_ascii=False)
