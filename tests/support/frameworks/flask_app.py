"""The scenarios' application in Flask."""

from __future__ import annotations

from flask import Flask, request

from roundel_adapters.flask import stream_response

from . import shared

app = Flask(__name__)


@app.before_request
def set_caller():
    shared.caller.set(request.headers.get("X-Caller", ""))


@app.get("/events")
def events():
    query = shared.Query(request.query_string, heartbeat=shared.WSGI_HEARTBEAT)
    return stream_response(
        shared.open_stream(query, request.headers.get("Last-Event-ID")),
        headers=shared.OWN_HEADERS,
        lifespan=shared.lifespan(),
        write_timeout=query.write_timeout,
    )


@app.post("/publish/<topic>")
def publish(topic):
    shared.publish(topic, request.get_data())
    return ""


@app.get("/stats")
def stats():
    return shared.stats()
