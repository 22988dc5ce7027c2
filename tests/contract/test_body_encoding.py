"""The bytes of a body: a byte order mark, and content codings."""

from __future__ import annotations

import gzip
import json

import pytest

from support.service import body

BOM = b"\xef\xbb\xbf"
BODIES = {
    "notify": ("POST", "/v1/notify", {"to": {"user": "alice"}, "title": "x"}),
    "gauge": ("PUT", "/v1/users/alice/gauges/c", {"count": 1, "source_version": 1}),
    "disconnect": ("POST", "/v1/users/alice/disconnect", {}),
    "ticket": ("POST", "/v1/tickets", {"user": "alice"}),
    "batch": ("POST", "/v1/batch", {"to": {"user": "alice"}, "title": "x"}),
    "ops": ("POST", "/v1/ops", {"ops": [{"read_upto": 1}]}),
}
EACH_BODY = pytest.mark.parametrize("name", BODIES)


async def send(world, name: str, content: bytes, **headers: str):
    method, target, _ = BODIES[name]
    client = world.user() if name == "ops" else world.producer
    return await client.request(method, target, body=content, headers=headers)


def content_of(name: str) -> bytes:
    return json.dumps(BODIES[name][2]).encode()


@EACH_BODY
async def test_byte_order_mark_is_skipped(autojump_clock, world, name):
    """A body may begin with a byte order mark, as some editors write it."""
    answer = await send(world, name, BOM + content_of(name))

    assert 200 == answer.status
    assert b"problem" not in answer.body


async def test_byte_order_mark_of_a_batch_in_pieces(autojump_clock, world):
    """The mark of a batch may be cut by chunks; a line of it alone is blank."""

    async def chunks():
        for byte in BOM:
            yield bytes([byte])
        yield b"\r\n" + content_of("batch")

    answer = await world.producer.request("POST", "/v1/batch", body=chunks())
    (line,) = map(json.loads, answer.body.splitlines())

    assert 1 == line["results"][0]["v"]


@pytest.mark.parametrize("content", [BOM, BOM + BOM + b"{}", b"{}" + BOM])
async def test_byte_order_mark_elsewhere_is_no_json(autojump_clock, world, content):
    """Only one mark, at the beginning, is skipped."""
    answer = await send(world, "disconnect", content)

    assert "urn:roundel:problem:malformed-body" == body(answer, 400)["type"]


@pytest.mark.parametrize(
    "coding", ["gzip", "br", "deflate", "zstd", "GZIP", "identity, gzip", "x"]
)
@EACH_BODY
async def test_content_coding_is_415(autojump_clock, world, name, coding):
    """A compressed body is refused by its header, and not called bad JSON."""
    content = gzip.compress(content_of(name))
    answer = await send(world, name, content, **{"Content-Encoding": coding})
    problem = body(answer, 415)

    assert "urn:roundel:problem:unsupported-media-type" == problem["type"]
    assert "identity" == answer.headers["accept-encoding"]
    assert 0 == (await world.badge())["v"]


@pytest.mark.parametrize("coding", ["identity", "Identity", "", " identity , identity"])
@EACH_BODY
async def test_no_content_coding_is_accepted(autojump_clock, world, name, coding):
    """`identity` is no coding."""
    headers = {"Content-Encoding": coding}

    assert 200 == (await send(world, name, content_of(name), **headers)).status


async def test_content_coding_without_a_body_is_ignored(autojump_clock, world):
    """A GET has nothing to decode."""
    answer = await world.user().request(
        "GET", "/v1/badge", headers={"Content-Encoding": "gzip"}
    )

    assert 200 == answer.status
