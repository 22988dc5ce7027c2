"""No extra: an event from a history to a source, and a stream of a WSGI application."""

from __future__ import annotations

from collections.abc import Iterable
from contextlib import closing
from random import Random
from typing import TYPE_CHECKING

from roundel import Event, History, Parser, Source, Stream, stream_headers
from roundel.testing import LossyLink, Pair
from roundel_adapters.driver import iter_chunks_in_thread
from roundel_adapters.testing import WsgiClient
from roundel_adapters.topics import Topics

if TYPE_CHECKING:
    from wsgiref.types import StartResponse, WSGIEnvironment

history = History("k3Qd", capacity=10)
stream = Stream(history, now=0.0, last_event_id="k3Qd.0")
history.append(Event("hello"), now=1.0)
received = Parser().receive_data(b"".join(stream.data_to_send(1.0)))
assert received == [Event("hello", id="k3Qd.1")], received

draw = Random(7).random
pair = Pair(
    Source(now=0.0, random=draw),
    lambda last_event_id, now: Stream(history, now=now, last_event_id="k3Qd.0"),
    make_link=lambda: LossyLink(draw, latency=0.2, cut_rate=0.0),
)
assert pair.run_until(1.0) == received

topics = Topics(signals=False)
topics.publish("news", Event("hello"), snapshot=Event("hello"))


def app(environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
    start_response("200 OK", list(stream_headers()))
    return iter_chunks_in_thread(topics.stream(["news"]))


with closing(topics), WsgiClient(app, headers={"Cookie": "a=1"}).stream("/") as events:
    event = events.next_event()
    assert event is not None
    assert event.data == "hello"
