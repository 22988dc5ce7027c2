"""Work that a caller sizes is bounded: other tasks of the loop run in the meantime."""

from __future__ import annotations

import json
from time import thread_time

import pytest
import trio

from roundel_adapters.testing import AsgiClient
from roundel_service import app as service
from roundel_service.engines.memory import MemoryEngine
from support.service import RunningService, body, post, settings, wall_clock

MIB = 1 << 20
NOTE = b'"to":{"user":"alice"},"title":"x"'


def fields(count: int, value: str = "1") -> str:
    return ",".join(f'"k{number}":{value}' for number in range(count))


BODIES = {
    "notify": ("POST", "/v1/notify"),
    "gauge": ("PUT", "/v1/users/alice/gauges/c"),
    "disconnect": ("POST", "/v1/users/alice/disconnect"),
    "ticket": ("POST", "/v1/tickets"),
    "ticket-of-user": ("POST", "/v1/tickets"),
    "ops": ("POST", "/v1/ops"),
}


def client(world, name: str):
    return world.user() if name in ("ops", "ticket-of-user") else world.producer


@pytest.mark.parametrize("count", [21, 500, 90_000])
@pytest.mark.parametrize("name", BODIES)
async def test_at_most_20_unknown_fields_are_named(autojump_clock, world, name, count):
    """Of many unknown fields, in 1 MiB too, 20 are named."""
    method, target = BODIES[name]
    content = f"{{{fields(count)}}}".encode()
    answer = await client(world, name).request(method, target, body=content)
    errors = body(answer, 422)["errors"]

    assert 20 == len(errors)
    assert "unknown field" in {error["detail"] for error in errors}
    assert len(answer.body) < 10_000


async def test_unknown_field_behind_a_long_body_is_named(autojump_clock, world):
    """An unknown field at the end of a long body is named, too."""
    note = {"to": {"users": [f"user-{n}" * 9 for n in range(900)]}, "title": "x"}
    answer = await post(world.producer, "/v1/notify", {**note, "titel": 1})

    assert ["titel"] == [error["field"] for error in body(answer, 422)["errors"]]


async def test_unknown_inner_field_of_a_long_body_is_named_once(autojump_clock, world):
    """An unknown field within a field is not reported as a field of the body."""
    content = f'{{"title":"x","to":{{{fields(9_000)}}}}}'.encode()
    answer = await world.producer.request("POST", "/v1/notify", body=content)

    assert ["to"] == [error["field"] for error in body(answer, 422)["errors"]]


async def test_at_most_20_errors_are_named(autojump_clock, world):
    """Bad names count with the other bad fields."""
    note = {"to": {"users": ["#"] * 1_000}, "title": ""}
    answer = await post(world.producer, "/v1/notify", note)

    assert 20 == len(body(answer, 422)["errors"])


@pytest.mark.parametrize(
    "content",
    [
        b'{"%b":1}' % (b"x" * 900_000),
        b'{"to":{"%b":1},"title":"x"}' % (b"x" * 900_000),
    ],
    ids=["field", "inner-field"],
)
async def test_long_name_of_an_unknown_field_is_cut(autojump_clock, world, content):
    """The answer does not grow with the names of a request."""
    answer = await world.producer.request("POST", "/v1/notify", body=content)

    assert 422 == answer.status
    assert len(answer.body) < 2_000


HOSTILE = {
    "unknown-fields": ("ops", f"{{{fields(90_000)}}}".encode(), 422),
    "unknown-in-to": ("notify", f'{{"to":{{{fields(90_000)}}}}}'.encode(), 422),
    "users": ("notify", b'{"to":{"users":[%b"a"]}}' % (b'"a",' * 250_000), 422),
    "long-users": (
        "notify",
        b'{"to":{"users":[%b"a"]}}' % (b'"abcdefghijklmnopqrstuvw",' * 40_000),
        422,
    ),
    "data-fields": (
        "notify",
        b'{%b,"data":{%b}}' % (NOTE, fields(90_000).encode()),
        413,
    ),
    "data-list": ("notify", b'{%b,"data":[%b1]}' % (NOTE, b"1," * 500_000), 413),
    "data-nested": (
        "notify",
        b'{%b,"data":[%b1]}' % (NOTE, (b"[" * 900 + b"]" * 900 + b",") * 550),
        413,
    ),
    "nested-beside-a-bad-field": (
        "notify",
        b'{"title":1,"data":[%b1]}' % ((b"[" * 900 + b"]" * 900 + b",") * 550),
        422,
    ),
    "operations": ("ops", b'{"ops":[%b{}]}' % (b'{"read":[]},' * 80_000), 422),
    "bare-operations": ("ops", b'{"ops":[%b{}]}' % (b"{}," * 300_000), 422),
    "numbers": ("ops", b'{"ops":[%b1]}' % (b"1," * 500_000), 422),
    "ids": ("ops", b'{"ops":[{"read":[%b""]}]}' % (b'"",' * 300_000), 422),
}


@pytest.mark.parametrize(("name", "content", "status"), HOSTILE.values(), ids=HOSTILE)
async def test_hostile_body_takes_little_time(
    autojump_clock, world, name, content, status
):
    """1 MiB is refused in milliseconds; before, some took up to a second."""
    assert len(content) <= MIB
    method, target = BODIES[name]
    caller = client(world, name)
    started_at = thread_time()
    answer = await caller.request(method, target, body=content)
    # 1 to 15 ms; the bound is for slow machines.
    seconds = thread_time() - started_at

    assert status == answer.status
    assert len(answer.body) < 10_000
    assert seconds < 0.15


HEADERS = {
    "accept-commas": ("/v1/stream", {"Accept": "," * 15_800}),
    "accept-ranges": ("/v1/stream", {"Accept": "text/*," * 2_250}),
    "accept-parameters": ("/v1/stream", {"Accept": "text/*" + ";" * 15_800}),
    "accept-quality": ("/v1/stream", {"Accept": "text/*;q=" + "0" * 15_800}),
    "etags": ("/v1/badge", {"If-None-Match": '"",' * 5_200}),
    "etag-commas": ("/v1/badge", {"If-None-Match": "," * 15_800}),
    "etag-space": ("/v1/badge", {"If-None-Match": f'"{" " * 15_800}'}),
    "cookies": ("/v1/badge", {"Cookie": ";" * 15_800}),
    "cookie-space": ("/v1/badge", {"Cookie": "roundel=" + " " * 15_800}),
    "cursor": ("/v1/stream", {"Last-Event-ID": "a.1~" * 3_900}),
    "parameters": (f"/v1/stream?{'a&' * 4_090}", {}),
    "escapes": (f"/v1/stream?{'%f0&' * 2_040}", {}),
    "categories": (f"/v1/stream?categories={'a,' * 4_000}", {}),
}


@pytest.mark.parametrize(("target", "headers"), HEADERS.values(), ids=HEADERS)
async def test_hostile_head_takes_little_time(autojump_clock, world, target, headers):
    """Lists in a head of 16 KiB are read in milliseconds."""
    caller = world.user()
    started_at = thread_time()
    async with caller.stream(target, headers=headers):
        seconds = thread_time() - started_at

    assert seconds < 0.15


# Batches


@pytest.mark.parametrize("line", [b"{}\n", b"1\n", b"{" + NOTE + b"}\n"])
async def test_other_tasks_run_between_the_lines_of_a_chunk(
    autojump_clock, world, nursery, line
):
    """A chunk of thousands of lines lets other tasks run after each 20 lines."""
    turns = 0

    async def count_turns() -> None:
        nonlocal turns
        while True:
            turns += 1
            await trio.lowlevel.checkpoint()

    with trio.CancelScope() as scope:
        nursery.start_soon(count_turns)
        answer = await world.producer.request("POST", "/v1/batch", body=line * 2_000)
        counted = turns
        scope.cancel()
    nursery.cancel_scope.cancel()

    assert 2_000 == len(answer.body.splitlines())
    assert counted >= 2_000 // 20


class CountingEngine:
    """A memory engine that records the sizes of its calls."""

    def __init__(self) -> None:
        self._engine = MemoryEngine(clock=wall_clock)
        self.sizes: list[int] = []

    async def apply(self, work):
        self.sizes.append(len(work))
        return await self._engine.apply(work)

    def __getattr__(self, name):
        return getattr(self._engine, name)


async def test_batch_gives_the_engine_at_most_1000_operations(autojump_clock, nursery):
    """Lines of many recipients are applied in groups, and in order."""
    engine = CountingEngine()
    built = service.build(settings(), clock=wall_clock, engine=engine)
    await nursery.start(built.run)
    world = RunningService(built, AsgiClient(built.app))
    counts = [600, 500, 1, 1_000, 300, 300, 300, 300]
    lines = [
        json.dumps({"to": {"users": [f"u{n}" for n in range(count)]}, "title": "x"})
        for count in counts
    ]
    answer = await world.producer.request(
        "POST", "/v1/batch", body="\n".join(lines).encode()
    )
    results = [json.loads(line)["results"] for line in answer.body.splitlines()]

    assert [600, 501, 1_000, 900, 300] == engine.sizes
    assert counts == [len(each) for each in results]
    assert [8, 7] == [results[-1][at]["v"] for at in (0, 299)]
