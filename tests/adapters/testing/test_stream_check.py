"""The contract test of event streams: right streams pass, and each flaw is found."""

from __future__ import annotations

import secrets

import anyio
import pytest

from roundel import Event, History, Stream, read_last_event_id
from roundel_adapters.asgi import StreamResponse
from roundel_adapters.drain import Drain
from roundel_adapters.testing import (
    STREAM_PROMISES,
    AsgiClient,
    StreamViolation,
    check_event_stream,
)
from roundel_adapters.wakeup import Wakeup
from support.asgi_peer import on_both_loops
from support.flawed_streams import HEARTBEAT, FlawedStream, StreamFlaw


class Page:
    """An application with one topic; *capacity* 0 keeps the latest event only."""

    def __init__(self, capacity=256):
        snapshot = None if capacity else Event("start")
        self.history = History(
            secrets.token_hex(4), capacity=capacity, snapshot=snapshot
        )
        self.wakeup, self.drain = Wakeup(), Drain()

    def publish(self, text):
        self.history.append(Event(text))
        self.wakeup.notify()

    def shut_down(self):
        self.drain.begin()

    async def __call__(self, scope, receive, send):
        cursor = dict(scope["headers"]).get(b"last-event-id")
        stream = Stream(
            self.history,
            now=anyio.current_time(),
            last_event_id=read_last_event_id(cursor),
            heartbeat=HEARTBEAT,
        )
        response = StreamResponse(stream, self.wakeup, drain=self.drain)
        await response(scope, receive, send)


async def check(make_app, **options):
    """Check all promises of an application, in virtual time."""
    apps = [make_app()]

    def restart():
        apps.append(make_app())
        return AsgiClient(apps[-1])

    await check_event_stream(
        AsgiClient(apps[0]),
        publish=lambda text: apps[-1].publish(text),
        heartbeat=HEARTBEAT,
        restart=restart,
        shutdown=lambda: apps[-1].shut_down(),
        **options,
    )


@on_both_loops
async def test_stream_response_keeps_all_promises():
    """A stream of this package passes, with a log and with the latest event only."""
    await check(Page)
    await check(lambda: Page(capacity=0), latest_wins=True)


@on_both_loops
async def test_other_right_streams_pass():
    """The check needs nothing of this package in the application."""
    await check(FlawedStream)


@pytest.mark.parametrize("flaw", StreamFlaw)
@on_both_loops
async def test_each_flaw_is_found(flaw):
    """A flawed stream fails, and the error names the promise that it breaks."""
    with pytest.raises(ExceptionGroup) as failed:
        await check(lambda: FlawedStream(flaw))
    broken = [str(error).partition(":")[0] for error in failed.value.exceptions]

    assert all(isinstance(each, StreamViolation) for each in failed.value.exceptions)
    assert flaw.promise in broken


def test_each_promise_has_a_flaw():
    """The flaws break every promise."""
    assert {promise.name for promise in STREAM_PROMISES} == {
        flaw.promise for flaw in StreamFlaw
    }


@on_both_loops
async def test_report():
    """The error has the promise, what was expected and what came."""
    with pytest.raises(ExceptionGroup, match="breaks its promises") as failed:
        await check(lambda: FlawedStream(StreamFlaw.IS_TEXT))

    (violation,) = failed.value.exceptions
    assert (
        "headers: The response is an event stream in UTF-8 that no cache stores.\n"
        "expected text/event-stream, got 'text/plain; charset=utf-8'"
    ) == str(violation)


@on_both_loops
async def test_stream_that_is_not_found():
    """Another status than 200 is in the report; nothing else is checked."""

    async def app(scope, receive, send):
        await send({"type": "http.response.start", "status": 404, "headers": []})
        await send({"type": "http.response.body", "body": b""})

    with pytest.raises(ExceptionGroup) as failed:
        await check_event_stream(AsgiClient(app), "/news", publish=lambda text: None)

    (violation,) = failed.value.exceptions
    assert "expected status 200, got 404" in str(violation)
