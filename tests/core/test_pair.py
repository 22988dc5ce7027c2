"""Server and client over a bad wire: what the reader knows was so, and becomes so."""

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


class Lane:
    """A list of numbers that grows; told whole, or one at a time, or both."""

    def __init__(self, name: str, **bounds: Any) -> None:
        self.name = name
        self.numbers: list[int] = []
        self.epoch = 0
        self.versions: dict[Position, list[int]] = {}
        self.history = History("e000", snapshot=self.snapshot(), **bounds)
        self.remember()

    def state(self) -> Event:
        return Event(json.dumps(self.numbers), type=f"{self.name}-state")

    def snapshot(self) -> Any:
        event = self.state()
        return lambda: event

    def remember(self) -> None:
        self.versions[self.history.head] = list(self.numbers)

    def add(self, number: int, now: float) -> None:
        self.numbers.append(number)
        event = Event(str(number), type=f"{self.name}-added")
        self.history.append(event, snapshot=self.snapshot(), now=now)
        self.remember()

    def stay(self) -> None:
        self.history.advance(snapshot=self.snapshot())
        self.remember()

    def reset(self) -> None:
        self.epoch += 1
        self.numbers = []
        self.history.reset(f"e{self.epoch:03d}", snapshot=self.snapshot())
        self.remember()


@attrs.define
class Page:
    """What a page knows from its events alone: each lane's state, or that it lacks it.

    It checks each moment: what it knows is what the server had at its cursor.
    """

    lanes: dict[str, Lane]
    states: dict[str, list[int]] = attrs.field(factory=dict)

    def hear(self, event: Event) -> None:
        match event.type.split("-"):
            case ["hello"]:
                for name, outcome in json.loads(event.data).items():
                    self.be_told(name, outcome)
            case ["gap"]:
                self.be_told(*event.data.split())
            case [name, "state"]:
                self.states[name] = json.loads(event.data)
            case [name, "added"]:
                # Whatever comes without a state before it was told to be exact.
                self.states[name].append(int(event.data))
            case ["bye"]:
                pass
        self.check(Cursor.parse(event.id))

    def be_told(self, name: str, outcome: str) -> None:
        if outcome in ("snapshot", "reset"):
            self.states.pop(name, None)

    def check(self, cursor: Cursor) -> None:
        for name, state in self.states.items():
            position = cursor.position(name)
            if position is not None:
                assert self.lanes[name].versions[position] == state, (name, cursor)


def hello(resume: ResumeInfo) -> Event:
    return Event(json.dumps(dict(resume.outcomes)), type="hello")


def gap(name: str, outcome: ResumeOutcome) -> Event:
    return Event(f"{name} {outcome}", type="gap")


class World:
    """A server whose lanes change, and a page that reads them over a bad wire."""

    def __init__(self, seed: int, shape: dict[str, dict[str, Any]]) -> None:
        self.random = Random(seed)
        self.lanes = {name: Lane(name, **bounds) for name, bounds in shape.items()}
        self.page = Page(self.lanes)
        self.cut_rate = 0.03
        self.count = 0
        chance = self.random.random
        self.pair = Pair(
            Source(now=0.0, random=chance, idle_timeout=30.0, retry_statuses={503}),
            self.serve,
            make_link=lambda: LossyLink(
                chance, latency=0.5, cut_rate=self.cut_rate, max_in_flight=100
            ),
        )

    def serve(self, last_event_id: str, now: float) -> Stream | int:
        if self.random.random() < self.cut_rate:
            return 503
        return Stream(
            {name: lane.history for name, lane in self.lanes.items()},
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

    def happen(self) -> None:
        """Let one thing happen, and a little time pass."""
        lane = self.random.choice(list(self.lanes.values()))
        match self.random.randrange(20):
            case 0:
                lane.reset()
            case 1 | 2:
                lane.stay()
            case 3:
                self.pair.cut()
            case 4:
                self.pair.cut(silently=True)
            case _:
                for _ in range(self.random.choice([1, 1, 1, 5])):
                    self.count += 1
                    lane.add(self.count, self.pair.now)
        self.pass_time(self.random.choice([0.0, 0.1, 1.0, 20.0]))

    def pass_time(self, seconds: float) -> None:
        for event in self.pair.run_until(self.pair.now + seconds):
            self.page.hear(event)


SHAPES: dict[str, dict[str, dict[str, Any]]] = {
    "latest wins": {"badge": {"capacity": 0}},
    "small ring": {"items": {"capacity": 3}},
    "short retention": {"items": {"retention": 2.0, "max_bytes": 120}},
    "several lanes": {
        "badge": {"capacity": 0},
        "items": {"capacity": 3},
        "notes": {"capacity": 50},
    },
}


def tell(seed: int, shape: dict[str, dict[str, Any]]) -> World:
    """Tell one story to its quiet end."""
    world = World(seed, shape)
    for _ in range(60):
        world.happen()
    world.cut_rate = 0.0
    # A silent cut takes 30 s to be found, a return at most 60 s more.
    while not (world.pair.is_idle and world.pair.source.reason == ""):
        world.pass_time(1.0)
        assert world.pair.now < 5000.0
    world.pass_time(300.0)
    while not world.pair.is_idle:
        world.pass_time(0.1)
    return world


def check(world: World) -> None:
    for name, lane in world.lanes.items():
        assert lane.numbers == world.page.states[name], name


@pytest.mark.parametrize("seed", range(8))
@pytest.mark.parametrize("shape", SHAPES.values(), ids=SHAPES)
def test_when_the_link_is_quiet(seed: int, shape: dict[str, dict[str, Any]]) -> None:
    """The page knows what the server has, and at each moment what it once had."""
    world = tell(seed, shape)

    check(world)
    assert State.OPEN is world.pair.source.state


@pytest.mark.nightly
@pytest.mark.parametrize("shape", SHAPES.values(), ids=SHAPES)
def test_for_a_night(shape: dict[str, dict[str, Any]]) -> None:
    """The same promise, in ten thousand stories over all shapes."""
    for seed in range(2_500):
        check(tell(seed, shape))


def test_the_same_seed_tells_the_same_story() -> None:
    """Nothing but the seed decides: a failure can be told again."""

    def story() -> list[tuple[float, Event]]:
        world = World(3, SHAPES["several lanes"])
        heard = []
        for _ in range(40):
            world.happen()
            heard += [(world.pair.now, event) for event in world.pair.step()]
        return heard

    assert story() == story()
