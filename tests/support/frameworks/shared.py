"""The part of the scenarios' applications that does not depend on the framework.

Each application has the same routes, on the topics of this module:

- `GET /events?topic=a&topic=b`: a stream. Its first event is `hello`, with the outcome
  of the resume and the caller. *heartbeat*, *write_timeout* and *ping* are parameters.
- `POST /publish/{topic}`: publishes the body.
- `GET /stats`: what `stats()` returns, as JSON.

The caller is the request's header `X-Caller`, which the framework's own middleware or
handler puts into a context variable.
"""

from __future__ import annotations

import gc
import os
import resource
from contextlib import contextmanager
from contextvars import ContextVar
from pathlib import Path
from urllib.parse import parse_qs

from roundel import Event, read_last_event_id
from roundel_adapters.topics import Topics

OWN_HEADERS = [("X-App", "1")]
WSGI_HEARTBEAT = 0.2
"""Default heartbeat in seconds where a heartbeat notices a disconnect."""

topics = Topics()
caller: ContextVar[str] = ContextVar("caller", default="")
_counts = {"entered": 0, "exited": 0}


class Query:
    """The parameters of `GET /events`."""

    def __init__(self, query: str | bytes, *, heartbeat: float = 15.0) -> None:
        text = query.decode() if isinstance(query, bytes) else query
        self._fields = parse_qs(text)
        self.topics = self._fields["topic"]
        self.last_event_id = self._get("lastEventId")
        self.heartbeat = float(self._get("heartbeat", heartbeat))
        self.write_timeout = float(self._get("write_timeout", "30"))
        self.ping = (
            (lambda _: Event(caller.get(), "ping")) if self._has("ping") else None
        )

    def _has(self, name):
        return name in self._fields

    def _get(self, name, default=""):
        return self._fields.get(name, [default])[0]


def _ping(_cursor):
    return Event(caller.get(), "ping")


def open_stream(query: Query, last_event_id: str | bytes | None):
    """Make the stream of one request; *last_event_id* is the header's value."""
    return topics.stream(
        query.topics,
        last_event_id=read_last_event_id(last_event_id, query.last_event_id),
        hello=lambda resume: Event(f"{resume.outcome} {caller.get()}", "hello"),
        ping=query.ping,
        heartbeat=query.heartbeat,
    )


@contextmanager
def lifespan():
    """Count a response, and write its start and its end to the file LOG."""
    _count("entered")
    try:
        yield
    finally:
        _count("exited")


def _count(name):
    _counts[name] += 1
    # One write: threads and processes append to the same file.
    with Path(os.environ["LOG"]).open("ab", buffering=0) as log:
        log.write(name.encode() + b"\n")


def publish(topic: str, body: bytes) -> None:
    """Publish the body of a request."""
    topics.publish(topic, Event(body.decode()))


def stats() -> dict[str, int]:
    """Return the counts of responses and topics, and the resident bytes."""
    if _open_streams() and _counts["entered"] == _counts["exited"]:
        # Streams whose response was never started; cycles may hold them.
        gc.collect()
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return {
        **_counts,
        "topics": len(topics),
        "streams": _open_streams(),
        "resident": pages * resource.getpagesize(),
    }


def _open_streams():
    return sum(len(topic.streams) for topic in topics._topics.values())
