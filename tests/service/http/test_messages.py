"""Requests limit their body."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest
from werkzeug.datastructures import Headers

from roundel_service.http.messages import Request
from roundel_service.http.problems import Problem


async def chunks() -> AsyncIterator[bytes]:
    yield b"12"
    yield b"345"


def request(body: bytes | AsyncIterator[bytes]) -> Request:
    return Request(
        id="r", method="POST", path="/", params={}, query=b"", headers=Headers(),
        body=body,
    )  # fmt: skip


@pytest.mark.parametrize("body", [lambda: b"12345", chunks], ids=["bytes", "chunks"])
async def test_whole_body_is_limited(body):
    """A body of *limit* bytes is returned; a longer one raises a 413 problem."""
    assert await request(body()).whole_body(5) == b"12345"

    with pytest.raises(Problem) as caught:
        await request(body()).whole_body(4)

    assert caught.value.status == 413
