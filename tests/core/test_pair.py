"""Server and client over a lossy link: a page's state is right and becomes current."""

from __future__ import annotations

import json
from random import Random
from typing import Any

import attrs
import pytest

from roundel._cursor import Cursor, Position
from roundel._event import Event
from roundel._history import History, ResumeOutcome
from roundel._source import Source
from roundel._source_states import State
from roundel._stream import CloseMessage, ResumeInfo, Stream
from roundel.testing import LossyLink, Pair


class Topic:
    """A topic of the server: a growing list of numbers, sent as states and events."""

    def __init__(self, name: str, **bounds: Any) -> None:
        self.name = name
        self.numbers: list[int] = []
        self.epoch = 0
        self.versions: dict[Position, list[int]] = {}
        self.history = History("e000", snapshot=self.snapshot(), **bounds)
        self.record_version()

    def state(self) -> Event:
        return Event(json.dumps(self.numbers), type=f"{self.name}-state")

    def snapshot(self) -> Any:
        event = self.state()
        return lambda: event

    def record_version(self) -> None:
        self.versions[self.history.head] = list(self.numbers)

    def add(self, number: int, now: float) -> None:
        self.numbers.append(number)
        event = Event(str(number), type=f"{self.name}-added")
        self.history.append(event, snapshot=self.snapshot(), now=now)
        self.record_version()

    def advance(self) -> None:
        self.history.advance(snapshot=self.snapshot())
        self.record_version()

    def reset(self) -> None:
        self.epoch += 1
        self.numbers = []
        self.history.reset(f"e{self.epoch:03d}", snapshot=self.snapshot())
        self.record_version()


@attrs.define
class Page:
    """A page that knows only its events: each topic's state, or that it has none.

    After each event it checks its states against the server's at the event's cursor.
    """

    topics: dict[str, Topic]
    states: dict[str, list[int]] = attrs.field(factory=dict)

    def receive(self, event: Event) -> None:
        match event.type.split("-"):
            case ["hello"]:
                for name, outcome in json.loads(event.data).items():
                    self.drop_if_lost(name, outcome)
            case ["gap"]:
                self.drop_if_lost(*event.data.split())
            case [name, "state"]:
                self.states[name] = json.loads(event.data)
            case [name, "added"]:
                # Events without a snapshot before them continue the known state.
                self.states[name].append(int(event.data))
            case ["bye"]:
                pass
        self.check_states(Cursor.parse(event.id))

    def drop_if_lost(self, name: str, outcome: str) -> None:
        if outcome in ("snapshot", "reset"):
            self.states.pop(name, None)

    def check_states(self, cursor: Cursor) -> None:
        for name, state in self.states.items():
            position = cursor.position(name)
            if position is not None:
                assert self.topics[name].versions[position] == state, (name, cursor)


def hello(resume: ResumeInfo) -> Event:
    return Event(json.dumps(dict(resume.outcomes)), type="hello")


def gap(name: str, outcome: ResumeOutcome) -> Event:
    return Event(f"{name} {outcome}", type="gap")


class Simulation:
    """A server whose topics change, and a page that reads them over a lossy link."""

    def __init__(self, seed: int, shape: dict[str, dict[str, Any]]) -> None:
        self.random = Random(seed)
        self.topics = {name: Topic(name, **bounds) for name, bounds in shape.items()}
        self.page = Page(self.topics)
        self.cut_rate = 0.03
        self.count = 0
        draw = self.random.random
        self.pair = Pair(
            Source(now=0.0, random=draw, idle_timeout=30.0, retry_statuses={503}),
            self.serve,
            make_link=lambda: LossyLink(
                draw, latency=0.5, cut_rate=self.cut_rate, max_in_flight=100
            ),
        )

    def serve(self, last_event_id: str, now: float) -> Stream | int:
        if self.random.random() < self.cut_rate:
            return 503
        return Stream(
            {name: topic.history for name, topic in self.topics.items()},
            now=now,
            last_event_id=last_event_id,
            hello=hello,
            gap=gap,
            heartbeat=10.0,
            max_age=120.0,
            random=self.random.random,
            close_message=CloseMessage(Event("", type="bye"), retry=500),
            max_write=self.random.choice([1, 30, 1000]),
        )

    def change(self) -> None:
        """Run one random change, then pass a random time."""
        topic = self.random.choice(list(self.topics.values()))
        match self.random.randrange(20):
            case 0:
                topic.reset()
            case 1 | 2:
                topic.advance()
            case 3:
                self.pair.cut()
            case 4:
                self.pair.cut(silently=True)
            case _:
                for _ in range(self.random.choice([1, 1, 1, 5])):
                    self.count += 1
                    topic.add(self.count, self.pair.now)
        self.pass_time(self.random.choice([0.0, 0.1, 1.0, 20.0]))

    def pass_time(self, seconds: float) -> None:
        for event in self.pair.run_until(self.pair.now + seconds):
            self.page.receive(event)


SHAPES: dict[str, dict[str, dict[str, Any]]] = {
    "capacity 0": {"badge": {"capacity": 0}},
    "small ring": {"items": {"capacity": 3}},
    "short retention": {"items": {"retention": 2.0, "max_bytes": 120}},
    "several topics": {
        "badge": {"capacity": 0},
        "items": {"capacity": 3},
        "notes": {"capacity": 50},
    },
}


def simulate(seed: int, shape: dict[str, dict[str, Any]]) -> Simulation:
    """Run one simulation until the link is idle."""
    simulation = Simulation(seed, shape)
    for _ in range(60):
        simulation.change()
    simulation.cut_rate = 0.0
    # The client detects a silent cut after 30 s and reconnects within 60 s.
    while not (simulation.pair.is_idle and simulation.pair.source.reason == ""):
        simulation.pass_time(1.0)
        assert simulation.pair.now < 5000.0
    simulation.pass_time(300.0)
    while not simulation.pair.is_idle:
        simulation.pass_time(0.1)
    return simulation


def check_states(simulation: Simulation) -> None:
    for name, topic in simulation.topics.items():
        assert topic.numbers == simulation.page.states[name], name


@pytest.mark.parametrize("seed", range(8))
@pytest.mark.parametrize("shape", SHAPES.values(), ids=SHAPES)
def test_idle_page_has_the_servers_state(
    seed: int, shape: dict[str, dict[str, Any]]
) -> None:
    """An idle page has the server's state, and always one that the server had."""
    simulation = simulate(seed, shape)

    check_states(simulation)
    assert State.OPEN is simulation.pair.source.state


@pytest.mark.nightly
@pytest.mark.parametrize("shape", SHAPES.values(), ids=SHAPES)
def test_idle_page_has_the_servers_state_nightly(
    shape: dict[str, dict[str, Any]],
) -> None:
    """The same property in 10,000 simulations."""
    for seed in range(2_500):
        check_states(simulate(seed, shape))


def test_seed_determines_the_simulation() -> None:
    """The seed determines a simulation, so that a failure can be reproduced."""

    def run() -> list[tuple[float, Event]]:
        simulation = Simulation(3, SHAPES["several topics"])
        received = []
        for _ in range(40):
            simulation.change()
            received += [
                (simulation.pair.now, event) for event in simulation.pair.step()
            ]
        return received

    assert run() == run()
