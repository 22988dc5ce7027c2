"""Handler of `POST /v1/batch`.

Lines are parsed and published in groups, so that a batch neither holds the event loop
nor needs memory for more than one chunk of its body.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import aclosing
from typing import final

import attrs
import trio

from ...documents import encode_json
from ...identity.callers import Producer
from ...streams.hub import Hub
from .. import decoding, schemas
from ..access_control import AccessControl
from ..messages import BODY_TIMEOUT, Request, StreamingResponse
from ..ndjson import NdjsonLine, split_lines
from ..problems import Problem
from ..responses import NotifyResponse
from .publishing import (
    ParsedRequest,
    parse_request,
    publish_all,
    recipient_count,
    topic_count,
)
from .retention import Retention

YIELD_AFTER = 20
"""Lines of a batch after which other tasks run; a bad line takes up to 0.3 ms."""

MAX_GROUP = schemas.MAX_USERS
"""Maximum number of results of a batch that are computed together."""


@final
@attrs.frozen
class BatchHandler:
    """Handler that publishes notifications line by line."""

    hub: Hub
    access: AccessControl
    retention: Retention

    async def batch(self, request: Request) -> StreamingResponse:
        """Read one notification a line, and write one result a line meanwhile."""
        producer = await self.access.producer(request)
        decoding.decode_query(request.parameters, schemas.NoQuery)
        key = decoding.idempotency_key(request.headers.getlist("Idempotency-Key"))
        headers = {"Content-Type": "application/x-ndjson", "Cache-Control": "no-store"}
        return StreamingResponse(
            body=self._batch_results(request, producer, key), headers=headers
        )

    async def _batch_results(
        self, request: Request, producer: Producer, key: str | None
    ) -> AsyncGenerator[bytes, None]:
        count = 0
        async with (
            aclosing(request.body_chunks()) as chunks,
            aclosing(split_lines(chunks, limit=decoding.MAX_LINE)) as batches,
        ):
            while (lines := await _next_lines(batches)) is not None:
                async with aclosing(self._groups(lines, key, count)) as groups:
                    async for group in groups:
                        yield await self._batch_group(group, producer)
                count += len(lines)

    async def _batch_group(
        self, group: list[ParsedRequest], producer: Producer
    ) -> bytes:
        # Back-pressure: a producer above its rate waits, its body is not read.
        delays = [
            self.access.reserve(
                producer, recipient_count(publish), topics=topic_count(publish)
            )
            for publish in group
        ]
        await trio.sleep(max(delays))
        return b"".join(map(_encode_line, await publish_all(self.hub, group)))

    async def _groups(
        self, lines: list[NdjsonLine], key: str | None, count: int
    ) -> AsyncGenerator[list[ParsedRequest], None]:
        """Parse *lines*, which follow *count* lines, in groups of `MAX_GROUP` results.

        Other tasks run meanwhile.
        """
        group: list[ParsedRequest] = []
        results, now = 0, self.hub.clock()
        for number, line in enumerate(lines, count + 1):
            if number % YIELD_AFTER == 0:
                await trio.lowlevel.checkpoint()
            own_key = None if key is None else f"{key} {number}"
            publish = parse_request(line, own_key, self.retention, now)
            more = _weight(publish)
            if results + more > MAX_GROUP:
                yield group
                group, results = [], 0
            group.append(publish)
            results += more
        yield group


def _weight(publish: ParsedRequest) -> int:
    """Return how many results of a group *publish* takes.

    A topic takes a whole group: its lines wait for a low rate, and no other line is to
    wait with them.
    """
    return MAX_GROUP if topic_count(publish) else max(1, recipient_count(publish))


async def _next_lines(
    chunks: AsyncIterator[list[NdjsonLine]],
) -> list[NdjsonLine] | None:
    """Return the next lines: `None` at the end, a 408 problem after `BODY_TIMEOUT`."""
    with trio.move_on_after(BODY_TIMEOUT):
        return await anext(chunks, None)
    return [Problem("request-timeout")]


def _encode_line(response: Problem | NotifyResponse) -> bytes:
    document = response.document() if isinstance(response, Problem) else response
    return encode_json(document) + b"\n"
