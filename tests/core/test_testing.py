"""The public test tools: link, pair and strategies."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from math import inf
from random import Random
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from roundel._errors import LocalProtocolError
from roundel._event import Event, encode
from roundel._history import History
from roundel._parser import Parser
from roundel._source import Source
from roundel._source_states import State
from roundel._stream import CloseMessage, Stream
from roundel.testing import LossyLink, Pair, chunkings, events, randoms


def random_of(*numbers: float) -> Callable[[], float]:
    """Return a *random* that draws these numbers."""
    return iter(numbers).__next__


def text(arrived: Iterable[object]) -> bytes:
    return b"".join(chunk for chunk in arrived if isinstance(chunk, bytes))


# The link.


def test_link_transcript() -> None:
    """The link splits and delays the data, and keeps its order."""
    # The cut, then the size and delay of each chunk, then the delay of the end.
    link = LossyLink(random_of(0.5, 0.5, 0.5, 0.99, 0.25, 0.0), latency=2.0)
    link.send(b"12345678", 10.0)
    link.end(10.5)
    in_flight = (link.in_flight, link.deadline)
    arrived = [link.receive(now) for now in (10.9, 11.0, 99.0)]

    assert (8, 11.0) == in_flight
    assert [[], [b"12", b"345678", "eof"], []] == arrived
    assert (0, inf) == (link.in_flight, link.deadline)


def test_link_delays() -> None:
    """A chunk never arrives before an earlier one."""
    link = LossyLink(random_of(0.5, 0.99, 0.5, 0.5, 0.99, 0.9), latency=2.0)
    link.send(b"a", 0.0)
    link.send(b"b", 0.5)

    assert [[b"a"], [b"b"]] == [link.receive(1.0), link.receive(2.3)]


def test_link_cuts_a_write() -> None:
    """A cut write arrives in part, followed by an error and nothing else."""
    link = LossyLink(
        random_of(0.4, 0.5, 0.99, 0.0, 0.5, *[0.9] * 9), cut_rate=0.5, latency=2.0
    )
    link.send(b"12345678", 0.0)
    link.send(b"more", 0.0)
    link.end(0.0)

    assert [b"1234", "error"] == link.receive(99.0)


@pytest.mark.parametrize(
    ("silently", "ended", "end"),
    [
        pytest.param(False, False, ["error"], id="error"),
        pytest.param(True, False, [], id="silent"),
        pytest.param(False, True, ["error"], id="error, after the end"),
        pytest.param(True, True, [], id="silent, after the end"),
    ],
)
def test_link_is_cut(silently: bool, ended: bool, end: list[str]) -> None:
    """A cut loses the data in flight, and the end."""
    link = LossyLink(Random(1).random)
    link.send(b"12345678", 0.0)
    if ended:
        link.end(0.0)
    link.cut(0.0, silently=silently)
    link.send(b"more", 0.0)

    assert end == link.receive(99.0)
    assert 0 == link.in_flight


def test_link_back_pressure() -> None:
    """A link is writable while less than *max_in_flight* bytes are in flight."""
    link = LossyLink(Random(1).random, max_in_flight=4)
    writable = [link.is_writable]
    for _ in range(2):
        link.send(b"12", 0.0)
        writable.append(link.is_writable)
    link.receive(9.0)

    assert [True, True, False, True] == [*writable, link.is_writable]


@pytest.mark.slow
@given(randoms(), st.lists(st.binary(max_size=50)))
def test_link_delivers_all(draw: Callable[[], float], writes: list[bytes]) -> None:
    """A link without a cut delivers all data."""
    link = LossyLink(draw)
    for write in writes:
        link.send(write, 0.0)
    arrived = link.receive(0.1)

    assert b"".join(writes) == text(arrived)
    assert b"" not in arrived


@pytest.mark.slow
@given(randoms(), st.lists(st.binary(max_size=50)))
def test_cut_link_delivers_a_prefix(
    draw: Callable[[], float], writes: list[bytes]
) -> None:
    """A cut link delivers a prefix of the data."""
    link = LossyLink(draw, cut_rate=0.3)
    for write in writes:
        link.send(write, 0.0)
    link.end(0.0)
    *arrived, end = link.receive(9.0)

    assert b"".join(writes).startswith(text(arrived))
    assert end == "error" or b"".join(writes) == text(arrived)


@pytest.mark.parametrize(
    "arguments",
    [{"latency": -1.0}, {"cut_rate": -0.1}, {"cut_rate": 1.1}, {"max_in_flight": 0}],
)
def test_invalid_link(arguments: dict[str, Any]) -> None:
    """Invalid arguments of a link raise."""
    with pytest.raises(LocalProtocolError, match="expected latency"):
        LossyLink(Random(1).random, **arguments)


# The pair.


class Server:
    """A server of one topic that records its requests."""

    def __init__(self, **options: Any) -> None:
        self.history = History("e", snapshot=Event("state"))
        self.options = options
        self.requests: list[tuple[str, float]] = []

    def serve(self, last_event_id: str, now: float) -> Stream | int:
        self.requests.append((last_event_id, now))
        return Stream(
            self.history, now=now, last_event_id=last_event_id, **self.options
        )


def make_pair(server: Server, latency: float = 0.0, **options: Any) -> Pair:
    draw = Random(1).random
    return Pair(
        Source(now=0.0, random=lambda: 0.0, **options),
        server.serve,
        make_link=lambda: LossyLink(draw, latency=latency, max_in_flight=100),
    )


def data(received: list[Event]) -> list[str]:
    return [event.data for event in received]


def test_pair_transcript() -> None:
    """A pair connects, delivers events, is cut, reconnects and delivers the rest."""
    server = Server()
    pair = make_pair(server)
    received = [data(pair.run_until(0.0))]
    server.history.append(Event("one"), now=1.0)
    received += [data(pair.run_until(1.0))]
    pair.cut()
    server.history.append(Event("two"), now=2.0)
    received += [data(pair.run_until(3.9)), data(pair.run_until(4.0))]

    assert [["state"], ["one"], [], ["two"]] == received
    assert [("", 0.0), ("e.1", 4.0)] == server.requests
    assert 4.0 == pair.now


def test_pair_steps() -> None:
    """A step moves the time to the next deadline."""
    server = Server(heartbeat=15.0, max_age=40.0)
    pair = make_pair(server)
    moments = []
    for _ in range(6):
        pair.step()
        moments.append(pair.now)

    # Two heartbeats, the end of the stream, and the reconnect after 3 s.
    assert [15.0, 30.0, 40.0, 43.0, 58.0, 73.0] == moments


def test_pair_is_idle() -> None:
    """A pair is idle when it is connected and nothing is in flight."""
    server = Server()
    pair = make_pair(server, latency=2.0)
    idle = [pair.is_idle]
    assert 0.0 == pair.deadline
    pair.run_until(0.0)
    idle.append(pair.is_idle)
    pair.run_until(2.0)
    idle.append(pair.is_idle)
    server.history.append(Event("one"), now=2.0)
    pair.run_until(2.0)
    idle.append(pair.is_idle)

    assert [False, False, True, False] == idle


def test_pair_rejected() -> None:
    """A status other than 200 closes the client."""
    pair = Pair(
        Source(now=0.0, random=lambda: 0.0),
        lambda last_event_id, now: 204,
        make_link=lambda: LossyLink(Random(1).random),
    )
    received = [pair.step(), pair.step(), pair.run_until(99.0)]

    assert [[], [], []] == received
    assert State.CLOSED is pair.source.state
    assert (inf, 99.0) == (pair.deadline, pair.now)


def test_pair_reconnects_after_a_503() -> None:
    """A client reconnects after a status of *retry_statuses*."""
    server = Server()
    statuses = iter([503, 503])
    pair = Pair(
        Source(now=0.0, random=lambda: 0.0, retry_statuses={503}),
        lambda last_event_id, now: next(statuses, 0) or server.serve("", now),
        make_link=lambda: LossyLink(Random(1).random),
    )

    assert ["state"] == data(pair.run_until(7.0))
    assert [("", 6.0)] == server.requests


def test_pair_and_a_silent_cut() -> None:
    """The client's idle timeout detects a silent cut."""
    server = Server(heartbeat=10.0)
    pair = make_pair(server, idle_timeout=25.0)
    pair.run_until(10.0)
    pair.cut(silently=True)
    pair.run_until(34.9)
    before = pair.source.state
    pair.run_until(35.0)

    assert State.OPEN is before
    assert State.WAITING is pair.source.state


def test_pair_cut_without_a_connection() -> None:
    """A cut without a connection changes nothing."""
    pair = make_pair(Server())
    pair.cut()

    assert ["state"] == data(pair.run_until(0.0))


def test_pair_close_message() -> None:
    """A closing stream sends its close message, and the client obeys its retry."""
    server = Server(max_age=5.0, close_message=CloseMessage(Event("bye"), retry=7000))
    pair = make_pair(server)

    assert ["state", "bye"] == data(pair.run_until(11.9))
    assert [] == data(pair.run_until(12.0))
    assert [("", 0.0), ("e.0", 12.0)] == server.requests


def test_pair_back_pressure() -> None:
    """The server waits while the link is not writable, and all data arrives."""
    server = Server(max_write=60)
    for number in range(50):
        server.history.append(Event(f"{number}"), now=0.0)
    pair = make_pair(server, latency=1.0)
    pair.run_until(0.0)
    assert pair.link is not None
    in_flight = pair.link.in_flight
    received = pair.run_until(14.0)

    assert 100 <= in_flight < 160
    assert ["state", *(f"{number}" for number in range(50))] == data(received)


def test_pair_with_a_closed_client() -> None:
    """A closed client reads no more data."""
    server = Server()
    pair = make_pair(server, latency=1.0)
    pair.run_until(0.0)
    pair.source.close()

    assert [] == pair.run_until(9.0)
    assert (None, None) == (pair.link, pair.stream)


def test_pair_with_an_event_over_the_bound() -> None:
    """After an event over the bound the client is closed."""
    server = Server()
    pair = make_pair(server, latency=1.0, max_event_size=20)
    server.history.append(Event("x" * 99), now=0.0)

    assert ["state"] == data(pair.run_until(9.0))
    assert State.CLOSED is pair.source.state


# The strategies.


@given(events())
def test_events(event: Event) -> None:
    """Each drawn event can be encoded and parsed."""
    (arrived,) = Parser().receive_data(encode(event))
    lines = event.data.replace("\r\n", "\n").replace("\r", "\n")

    assert (event.type or "message", lines) == (arrived.type, arrived.data)


@pytest.mark.slow
@given(st.data(), st.binary(max_size=40))
def test_chunkings(drawn: st.DataObject, whole: bytes) -> None:
    """The chunks of each drawn split are the data."""
    chunks = drawn.draw(chunkings(whole))

    assert whole == b"".join(chunks)


@given(randoms())
def test_randoms(draw: Callable[[], float]) -> None:
    """A drawn *random* returns numbers from 0 to below 1."""
    assert all(0 <= draw() < 1 for _ in range(5))
