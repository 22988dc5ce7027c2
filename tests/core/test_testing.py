"""The wire, the pair and the strategies that we hand to others."""

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


def rolled(*chances: float) -> Callable[[], float]:
    """Return a *random* that draws just these."""
    return iter(chances).__next__


def text(arrived: Iterable[object]) -> bytes:
    return b"".join(piece for piece in arrived if isinstance(piece, bytes))


# The wire.


def test_link_transcript() -> None:
    """Bytes are split and delayed, and arrive in the order in which they were sent."""
    # The cut, then for each piece its size and its delay; and the delay of the end.
    link = LossyLink(rolled(0.5, 0.5, 0.5, 0.99, 0.25, 0.0), latency=2.0)
    link.send(b"12345678", 10.0)
    link.end(10.5)
    under_way = (link.in_flight, link.deadline)
    arrived = [link.receive(now) for now in (10.9, 11.0, 99.0)]

    assert (8, 11.0) == under_way
    assert [[], [b"12", b"345678", "eof"], []] == arrived
    assert (0, inf) == (link.in_flight, link.deadline)


def test_link_delays() -> None:
    """A piece arrives when the one before it has, however quick it was."""
    link = LossyLink(rolled(0.5, 0.99, 0.5, 0.5, 0.99, 0.9), latency=2.0)
    link.send(b"a", 0.0)
    link.send(b"b", 0.5)

    assert [[b"a"], [b"b"]] == [link.receive(1.0), link.receive(2.3)]


def test_link_cuts_a_write() -> None:
    """A cut write arrives in part, then comes the error, and nothing after it."""
    link = LossyLink(
        rolled(0.4, 0.5, 0.99, 0.0, 0.5, *[0.9] * 9), cut_rate=0.5, latency=2.0
    )
    link.send(b"12345678", 0.0)
    link.send(b"more", 0.0)
    link.end(0.0)

    assert [b"1234", "error"] == link.receive(99.0)


@pytest.mark.parametrize(
    ("silently", "ended", "end"),
    [
        pytest.param(False, False, ["error"], id="told"),
        pytest.param(True, False, [], id="silent"),
        pytest.param(False, True, ["error"], id="told, behind the end"),
        pytest.param(True, True, [], id="silent, behind the end"),
    ],
)
def test_link_is_cut(silently: bool, ended: bool, end: list[str]) -> None:
    """What has not arrived is lost, the end included."""
    link = LossyLink(Random(1).random)
    link.send(b"12345678", 0.0)
    if ended:
        link.end(0.0)
    link.cut(0.0, silently=silently)
    link.send(b"more", 0.0)

    assert end == link.receive(99.0)
    assert 0 == link.in_flight


def test_link_heeds_back_pressure() -> None:
    """A link is writable while less than its bound is under way."""
    link = LossyLink(Random(1).random, max_in_flight=4)
    writable = [link.is_writable]
    for _ in range(2):
        link.send(b"12", 0.0)
        writable.append(link.is_writable)
    link.receive(9.0)

    assert [True, True, False, True] == [*writable, link.is_writable]


@pytest.mark.slow
@given(randoms(), st.lists(st.binary(max_size=50)))
def test_link_loses_nothing(chance: Callable[[], float], writes: list[bytes]) -> None:
    """A link that is not cut brings all that was sent."""
    link = LossyLink(chance)
    for write in writes:
        link.send(write, 0.0)
    arrived = link.receive(0.1)

    assert b"".join(writes) == text(arrived)
    assert b"" not in arrived


@pytest.mark.slow
@given(randoms(), st.lists(st.binary(max_size=50)))
def test_cut_link_brings_a_beginning(
    chance: Callable[[], float], writes: list[bytes]
) -> None:
    """A link that is cut loses the tail, and no piece from the middle."""
    link = LossyLink(chance, cut_rate=0.3)
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
def test_link_refused(arguments: dict[str, Any]) -> None:
    """A wire that cannot be is refused."""
    with pytest.raises(LocalProtocolError, match="expected latency"):
        LossyLink(Random(1).random, **arguments)


# The pair.


class Server:
    """One lane, and what it was asked."""

    def __init__(self, **options: Any) -> None:
        self.lane = History("e", snapshot=Event("state"))
        self.options = options
        self.asked: list[tuple[str, float]] = []

    def serve(self, last_event_id: str, now: float) -> Stream | int:
        self.asked.append((last_event_id, now))
        return Stream(self.lane, now=now, last_event_id=last_event_id, **self.options)


def joined(server: Server, latency: float = 0.0, **options: Any) -> Pair:
    chance = Random(1).random
    return Pair(
        Source(now=0.0, random=lambda: 0.0, **options),
        server.serve,
        make_link=lambda: LossyLink(chance, latency=latency, max_in_flight=100),
    )


def data(told: list[Event]) -> list[str]:
    return [event.data for event in told]


def test_pair_transcript() -> None:
    """A pair connects, tells what is new, is cut, comes back and tells the rest."""
    server = Server()
    pair = joined(server)
    told = [data(pair.run_until(0.0))]
    server.lane.append(Event("one"), now=1.0)
    told += [data(pair.run_until(1.0))]
    pair.cut()
    server.lane.append(Event("two"), now=2.0)
    told += [data(pair.run_until(3.9)), data(pair.run_until(4.0))]

    assert [["state"], ["one"], [], ["two"]] == told
    assert [("", 0.0), ("e.1", 4.0)] == server.asked
    assert 4.0 == pair.now


def test_pair_steps() -> None:
    """A step goes from one deadline to the next, and to no moment between."""
    server = Server(heartbeat=15.0, max_age=40.0)
    pair = joined(server)
    moments = []
    for _ in range(6):
        pair.step()
        moments.append(pair.now)

    # Two heartbeats, the end of the stream, and the return after 3 s.
    assert [15.0, 30.0, 40.0, 43.0, 58.0, 73.0] == moments


def test_pair_is_quiet() -> None:
    """A pair is quiet when it is connected and nothing is under way."""
    server = Server()
    pair = joined(server, latency=2.0)
    quiet = [pair.is_idle]
    assert 0.0 == pair.deadline
    pair.run_until(0.0)
    quiet.append(pair.is_idle)
    pair.run_until(2.0)
    quiet.append(pair.is_idle)
    server.lane.append(Event("one"), now=2.0)
    pair.run_until(2.0)
    quiet.append(pair.is_idle)

    assert [False, False, True, False] == quiet


def test_pair_refused() -> None:
    """A server that answers with a status refuses, and for a browser that is all."""
    pair = Pair(
        Source(now=0.0, random=lambda: 0.0),
        lambda last_event_id, now: 204,
        make_link=lambda: LossyLink(Random(1).random),
    )
    told = [pair.step(), pair.step(), pair.run_until(99.0)]

    assert [[], [], []] == told
    assert State.CLOSED is pair.source.state
    assert (inf, 99.0) == (pair.deadline, pair.now)


def test_pair_and_an_unready_server() -> None:
    """A client that comes back after a refusal is served in the end."""
    server = Server()
    answers = iter([503, 503])
    pair = Pair(
        Source(now=0.0, random=lambda: 0.0, retry_statuses={503}),
        lambda last_event_id, now: next(answers, 0) or server.serve("", now),
        make_link=lambda: LossyLink(Random(1).random),
    )

    assert ["state"] == data(pair.run_until(7.0))
    assert [("", 6.0)] == server.asked


def test_pair_and_a_silent_cut() -> None:
    """A cut that nobody is told of is found by the client's timeout."""
    server = Server(heartbeat=10.0)
    pair = joined(server, idle_timeout=25.0)
    pair.run_until(10.0)
    pair.cut(silently=True)
    pair.run_until(34.9)
    before = pair.source.state
    pair.run_until(35.0)

    assert State.OPEN is before
    assert State.WAITING is pair.source.state


def test_pair_that_is_not_connected_cannot_be_cut() -> None:
    """To cut what is not there changes nothing."""
    pair = joined(Server())
    pair.cut()

    assert ["state"] == data(pair.run_until(0.0))


def test_pair_says_the_last_words() -> None:
    """A stream that ends says its last words, and the client heeds them."""
    server = Server(max_age=5.0, close_message=CloseMessage(Event("bye"), retry=7000))
    pair = joined(server)

    assert ["state", "bye"] == data(pair.run_until(11.9))
    assert [] == data(pair.run_until(12.0))
    assert [("", 0.0), ("e.0", 12.0)] == server.asked


def test_pair_heeds_back_pressure() -> None:
    """A server with too much under way waits; the reader gets it all the same."""
    server = Server(max_write=60)
    for number in range(50):
        server.lane.append(Event(f"{number}"), now=0.0)
    pair = joined(server, latency=1.0)
    pair.run_until(0.0)
    assert pair.link is not None
    under_way = pair.link.in_flight
    told = pair.run_until(14.0)

    assert 100 <= under_way < 160
    assert ["state", *(f"{number}" for number in range(50))] == data(told)


def test_pair_whose_client_is_closed() -> None:
    """Bytes that arrive for a closed client are not read."""
    server = Server()
    pair = joined(server, latency=1.0)
    pair.run_until(0.0)
    pair.source.close()

    assert [] == pair.run_until(9.0)
    assert (None, None) == (pair.link, pair.stream)


def test_pair_whose_client_breaks_off() -> None:
    """Behind an event over the bound nothing more is read."""
    server = Server()
    pair = joined(server, latency=1.0, max_event_size=20)
    server.lane.append(Event("x" * 99), now=0.0)

    assert ["state"] == data(pair.run_until(9.0))
    assert State.CLOSED is pair.source.state


# The strategies.


@given(events())
def test_events(event: Event) -> None:
    """Each event that is drawn can be written, and arrives."""
    (arrived,) = Parser().receive_data(encode(event))
    lines = event.data.replace("\r\n", "\n").replace("\r", "\n")

    assert (event.type or "message", lines) == (arrived.type, arrived.data)


@pytest.mark.slow
@given(st.data(), st.binary(max_size=40))
def test_pieces(drawn: st.DataObject, whole: bytes) -> None:
    """However it is cut, the pieces are the whole."""
    cut = drawn.draw(chunkings(whole))

    assert whole == b"".join(cut)


@given(randoms())
def test_chances(chance: Callable[[], float]) -> None:
    """What is drawn is from 0 to below 1."""
    assert all(0 <= chance() < 1 for _ in range(5))
