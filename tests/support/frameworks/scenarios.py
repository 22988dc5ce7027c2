"""The scenarios of the table: one client's view of a stream on any server.

Each scenario is a function of a `ServedApp`. It raises `AssertionError` or returns what
it has measured. Measurements are asserted with a generous bound, because machines
differ; the table has the values.
"""

from __future__ import annotations

import statistics
import time
from http import HTTPStatus

import attrs

from .client import Producer, Reader, connect
from .servers import Running

LIVE_BOUND = 5.0
"""Seconds within which a live event has to arrive; the promise is 0.05."""

STOP_BOUND = 20.0
"""Seconds within which a process has to be gone; the promise is 2."""

END_BOUND = 30.0
"""Seconds within which a response has to end after its cause."""

HEARTBEAT = 0.2
WRITE_TIMEOUT = 0.5
SLOW_CHUNKS = 300
CHUNK = "x" * 60_000
MEMORY_BOUND = 32 << 20
"""Bytes by which 18 MB for a peer that does not read may grow the process."""

RETRY = range(5_000, 10_000)
"""The reconnection times of a close message, in milliseconds."""


@attrs.frozen
class ServedApp:
    """A running application: the server, and the path in front of its routes."""

    running: Running
    prefix: str
    producer: Producer

    def open(self, *topics, headers=(), buffer=None, **parameters):
        """Open a stream."""
        fields = [*(("topic", topic) for topic in topics), *parameters.items()]
        query = "&".join(f"{name}={value}" for name, value in fields)
        target = f"{self.prefix}/events?{query}"
        return Reader(self.running.address, target, headers=headers, buffer=buffer)

    def wait_for_end(self, entered):
        """Wait until all of *entered* responses have ended; return the seconds."""
        start = time.monotonic()
        while (stats := self.producer.stats())["exited"] < entered:
            assert time.monotonic() < start + END_BOUND, stats
            time.sleep(0.002)
        return time.monotonic() - start


def first_event(served):
    """The first event arrives at once."""
    delays = []
    for _ in range(5):
        start = time.monotonic()
        with served.open("first") as reader:
            assert "hello" == reader.next_event().type
            delays.append(time.monotonic() - start)

    assert max(delays) < LIVE_BOUND
    return _milliseconds(statistics.median(delays))


def live_event(served):
    """A published event arrives at once."""
    delays = []
    with served.open("live") as reader:
        reader.next_event()
        for number in range(20):
            start = time.monotonic()
            served.producer.request("POST", "/publish/live", f"{number}".encode())
            assert f"{number}" == reader.next_event().data
            delays.append(time.monotonic() - start)
            served.producer.response()

    assert max(delays) < LIVE_BOUND
    return _milliseconds(statistics.median(delays))


def heartbeat(served):
    """A silent stream has a heartbeat."""
    with served.open("silent", heartbeat=HEARTBEAT) as reader:
        reader.next_event()
        start = time.monotonic()
        assert reader.next_comment() is not None
        seconds = time.monotonic() - start

    assert seconds < LIVE_BOUND
    return _milliseconds(seconds)


def resume(served):
    """A reconnect to two topics gets exactly the missed events."""
    publish = served.producer.publish
    with served.open("a", "b") as reader:
        reader.next_event()
        publish("a", "a1")
        publish("b", "b1")
        assert ["a1", "b1"] == [reader.next_event().data for _ in range(2)]
        last_event_id = reader.last_event_id
    for topic, data in [("a", "a2"), ("b", "b2"), ("a", "a3"), ("other", "c1")]:
        publish(topic, data)
    with served.open("a", "b", headers={"Last-Event-ID": last_event_id}) as reader:
        assert "replayed" == reader.next_event().data.strip()
        missed = [reader.next_event().data for _ in range(3)]
        publish("b", "b3")

        assert ["a2", "a3", "b2"] == sorted(missed)
        assert "b3" == reader.next_event().data
    with served.open("a", "b", lastEventId=reader.last_event_id) as reader:
        assert "current" == reader.next_event().data.strip()
    return "exact"


def disconnect(served):
    """A disconnect ends the response."""
    entered = served.producer.stats()["entered"]
    with served.open("left", heartbeat=HEARTBEAT) as reader:
        reader.next_event()
    seconds = served.wait_for_end(entered + 1)

    assert 0 == served.producer.stats()["streams"]
    return _milliseconds(seconds)


def early_resets(served):
    """Peers that reset their connections right after the request leave nothing."""
    for _ in range(50):
        served.open("reset", heartbeat=HEARTBEAT).reset()
    # The server accepts this connection after the reset ones.
    with served.open("reset", heartbeat=HEARTBEAT) as reader:
        reader.next_event()
    start = time.monotonic()
    while (stats := served.producer.stats())["streams"]:
        assert time.monotonic() < start + END_BOUND, stats
        time.sleep(0.01)

    assert stats["entered"] == stats["exited"]
    return "none left"


def slow_reader(served):
    """A peer that does not read is cut, and memory stays bounded."""
    before = served.producer.stats()
    start, cut = time.monotonic(), None
    with served.open("slow", buffer=4096, write_timeout=WRITE_TIMEOUT):
        for number in range(SLOW_CHUNKS):
            served.producer.publish("slow", CHUNK)
            if number % 20 == 0 and _has_ended(served, before):
                cut = cut or time.monotonic() - start
        served.wait_for_end(before["entered"] + 1)
        cut = cut or time.monotonic() - start
        growth = served.producer.stats()["resident"] - before["resident"]

    assert growth < MEMORY_BOUND
    return f"{cut:.1f} s, {growth / 2**20:+.0f} MiB"


def _has_ended(served, before):
    return served.producer.stats()["exited"] > before["exited"]


def headers(served):
    """The response has each header of a stream and of the application once."""
    with served.open("headers") as reader:
        fields = [(k.lower(), v) for k, v in reader.response.getheaders()]
    expected = {
        "content-type": "text/event-stream; charset=utf-8",
        "cache-control": "no-store, no-transform",
        "x-accel-buffering": "no",
        "x-app": "1",
    }

    assert sorted(expected.items()) == sorted(f for f in fields if f[0] in expected)
    names = [name for name, _ in fields if name not in ("set-cookie", "vary")]
    assert len(set(names)) == len(names)
    assert not {"content-length", "content-encoding"} & set(names)
    return "once each"


def head(served):
    """`HEAD` gets the headers alone, and the connection stays usable."""
    entered = served.producer.stats()["entered"]
    connection = connect(served.running.address)
    target = f"{served.prefix}/events?topic=head"
    for _ in range(2):
        connection.request("HEAD", target)
        response = connection.getresponse()
        assert b"" == response.read()
        assert HTTPStatus.OK == response.status
        assert "text/event-stream; charset=utf-8" == response.headers["content-type"]
        assert "1" == response.headers["x-app"]
    connection.close()

    assert entered == served.producer.stats()["entered"]
    return "headers"


def context(served):
    """The functions of a stream see the context variables of their own request."""
    options = {"ping": 1, "heartbeat": HEARTBEAT}
    with (
        served.open("context", headers={"X-Caller": "alice"}, **options) as alice,
        served.open("context", headers={"X-Caller": "bob"}, **options) as bob,
    ):
        for reader, name in ((alice, "alice"), (bob, "bob")):
            assert name == reader.next_event().data.split()[1]
            ping = reader.next_event()
            assert ("ping", name) == (ping.type, ping.data)
    return "own"


def shutdown(served):
    """SIGTERM ends ten streams with a close message, then their lifespans, in time."""
    readers = [served.open("a", "b") for _ in range(10)]
    for reader in readers:
        reader.next_event()
    served.producer.close()
    seconds = served.running.stop()
    for reader in readers:
        event = reader.next_event()
        assert event is not None, "no close message"
        assert "bye" == event.type
        assert reader.retry in RETRY
        assert reader.next_event() is None
        reader.close()
    logged = served.running.logged()

    assert len({reader.retry for reader in readers}) > 1
    assert logged["entered"] == logged["exited"]
    assert seconds < STOP_BOUND
    return f"{seconds:.2f} s"


def _milliseconds(seconds):
    return f"{seconds * 1000:.1f} ms"


SCENARIOS = {
    "first event": first_event,
    "live event": live_event,
    "heartbeat": heartbeat,
    "resume": resume,
    "disconnect": disconnect,
    "early resets": early_resets,
    "slow reader": slow_reader,
    "headers": headers,
    "HEAD": head,
    "context": context,
    "SIGTERM": shutdown,
}
"""The columns of the table. The last one ends the server."""
