"""The extra `flask`: a stream as the response of a Flask view."""

from __future__ import annotations

from contextlib import closing

from flask import Flask, Response

from roundel import Event
from roundel_adapters.flask import stream_response
from roundel_adapters.testing import WsgiClient
from roundel_adapters.topics import Topics

topics = Topics(signals=False)
topics.publish("news", Event("hello"), snapshot=Event("hello"))
app = Flask(__name__)


@app.get("/news")
def news() -> Response:
    return stream_response(topics.stream(["news"]))


with closing(topics), WsgiClient(app.wsgi_app).stream("/news") as events:
    event = events.next_event()
    assert event is not None
    assert event.data == "hello"
