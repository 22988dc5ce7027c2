"""The promises of an event stream: one function each, whose docstring states it."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from math import inf

import attrs

from roundel import Parser

from .. import requires_extra
from .stream_probe import StreamProbe, StreamViolation, call

with requires_extra("asgi"):
    import anyio

BURST = 100
"""Events that are published while a client does not read."""


async def disconnect(probe: StreamProbe) -> None:
    """The response ends when its client disconnects."""
    with probe.within(lambda: "the response did not end after the disconnect"):
        async with probe.open():
            pass
        # The application finds the disconnect when it has something to send.
        async with probe.open():
            await probe.publish()


async def headers(probe: StreamProbe) -> None:
    """The response is an event stream in UTF-8 that no cache stores."""
    async with probe.open() as stream:
        content_type = stream.headers.get("content-type", "")
        cache_control = stream.headers.get("cache-control", "")
        encoding = stream.headers.get("content-encoding", "identity")
    # WHATWG HTML 9.2.2: a client fails for another type.
    if content_type.partition(";")[0].strip().lower() != "text/event-stream":
        raise StreamViolation(f"expected text/event-stream, got {content_type!r}")
    if not {"no-store", "no-cache"} & {p.strip() for p in cache_control.split(",")}:
        raise StreamViolation(
            f"expected no-store or no-cache in Cache-Control, got {cache_control!r}"
        )
    if encoding != "identity" or "content-length" in stream.headers:
        raise StreamViolation("expected neither Content-Encoding nor Content-Length")


async def head(probe: StreamProbe) -> None:
    """HEAD ends, without a body; a route without it may answer 405."""
    with probe.within(lambda: "the response to HEAD did not end"):
        response = await probe.client.request("HEAD", probe.target)
    # A server leaves the body of a framework's own 405 out.
    if response.status != 405 and (response.status != 200 or response.body):
        raise StreamViolation(
            f"expected 200 and no body, or 405, got {response.status} and "
            f"{len(response.body)} bytes"
        )


async def live_events(probe: StreamProbe) -> None:
    """An event arrives when it is published, and in the order of publishing."""
    async with probe.open() as stream:
        for _ in range(3):
            await probe.read_until(stream, await probe.publish())


async def order(probe: StreamProbe) -> None:
    """Events that are published together arrive once each, in order, at all clients."""
    async with probe.open() as one, probe.open() as other:
        texts = await probe.publish_many(3)
        for stream in (one, other):
            found = await probe.read_until(stream, texts[-1])
            received = [text for text in found if text in texts]
            if received != texts and not (probe.latest_wins and received):
                raise StreamViolation(f"expected {texts}, got {received}")


async def ids(probe: StreamProbe) -> None:
    """Each event has an id that no earlier one has."""
    async with probe.open() as stream:
        found = [await probe.read_next(stream) for _ in range(3)]
    if len({*found}) < 3:
        raise StreamViolation(f"expected three ids, got {found}")


async def resume(probe: StreamProbe) -> None:
    """A client that returns with its last event id gets exactly what it missed."""
    async with probe.open() as stream:
        known = [await probe.publish()]
        await probe.read_until(stream, known[0])
    missed = await probe.publish_many(3)
    received = await probe.resume(stream.last_event_id, missed, known + missed)
    if received != probe.expected(missed):
        raise StreamViolation(f"expected {probe.expected(missed)}, got {received}")


async def no_duplicates(probe: StreamProbe) -> None:
    """A client that has missed nothing gets nothing again."""
    async with probe.open() as stream:
        known = [await probe.publish()]
        await probe.read_until(stream, known[0])
    if received := await probe.resume(stream.last_event_id, [], known):
        raise StreamViolation(f"expected no event again, got {received}")


async def cut_anywhere(probe: StreamProbe) -> None:
    """A connection that is cut within an event loses none, and repeats none."""
    first, data = len(probe.published), b""
    async with probe.client.open("GET", probe.target) as response:
        for _ in range(3):
            text = await probe.publish()
            data += await _read_chunks(probe, response.next_chunk, text)
    tried: set[tuple[str, int]] = set()
    for end in range(len(data)):
        parser = Parser()
        found = "\n".join(e.data for e in parser.receive_data(data[:end]))
        texts = probe.published[first:]
        missed = [text for text in texts if text not in found]
        # Cuts that leave the client in the same state have the same outcome.
        state = (parser.last_event_id, len(texts) - len(missed))
        if parser.last_event_id and state not in tried:
            tried.add(state)
            received = await probe.resume(parser.last_event_id, missed, texts)
            if received != probe.expected(missed):
                raise StreamViolation(
                    f"after a cut at byte {end} of {data!r}: "
                    f"expected {probe.expected(missed)}, got {received}"
                )


async def unknown_id(probe: StreamProbe) -> None:
    """A client with an id that the application does not know gets live events."""
    for last_event_id in ("unknown", "999999999"):
        async with probe.open(last_event_id) as stream:
            await probe.read_until(stream, await probe.publish())


async def slow_client(probe: StreamProbe) -> None:
    """A client that does not read delays no other, and gets the latest event later."""
    async with probe.open() as other, probe.client.open("GET", probe.target) as slow:
        texts = await probe.publish_many(BURST)
        await probe.read_until(other, texts[-1])
        await _read_chunks(probe, slow.next_chunk, texts[-1])


async def heartbeat(probe: StreamProbe) -> None:
    """A silent stream sends something within the heartbeat interval."""
    async with probe.client.open("GET", probe.target) as response:
        await _read_chunks(probe, response.next_chunk, await probe.publish())
        interval = probe.heartbeat or inf
        with anyio.move_on_after(interval + probe.wait_timeout):
            if await response.next_chunk():
                return
    raise StreamViolation(f"expected a heartbeat within {interval:g} s, got none")


async def shutdown(probe: StreamProbe) -> None:
    """At shutdown a stream ends, after it has set when its client returns."""
    assert probe.shutdown is not None
    async with probe.open() as stream:
        await probe.read_next(stream)
        with probe.within(lambda: "the stream did not end"):
            await call(probe.shutdown)
            while await stream.next_event():
                pass
        if stream.retry is None:
            raise StreamViolation("expected a retry, got none: all return together")


async def restart(probe: StreamProbe) -> None:
    """After a restart that lost the history, a client gets the new events."""
    assert probe.restart is not None
    before = attrs.evolve(probe, client=probe.restart())
    async with before.open() as stream:
        for _ in range(3):
            last_event_id = await before.read_next(stream)
    after = attrs.evolve(probe, client=probe.restart())
    async with after.open(last_event_id) as stream:
        await after.read_until(stream, await after.publish())


async def _read_chunks(
    probe: StreamProbe, next_chunk: Callable[[], Awaitable[bytes | None]], last: str
) -> bytes:
    """Read chunks up to the event with the text *last*, and return them."""
    data, parser, is_read = b"", Parser(), False
    with probe.within(lambda: f"{last} did not arrive, but {data!r}"):
        while not is_read:
            chunk = await next_chunk()
            if chunk is None:
                raise StreamViolation(f"the stream ended before {last}: {data!r}")
            data += chunk
            is_read = any(last in each.data for each in parser.receive_data(chunk))
    return data
