"""A Valkey or Redis store: what it keeps, and what it may lose, by its own words."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from statistics import median
from typing import Final, TypeAlias

import attrs

from ...engines.base import EngineUnavailable
from ...engines.valkey.client import Command
from ...engines.valkey.store import Store
from ...engines.valkey.url import StoreUrl, parse_url
from .finding import Finding, failure, latency, ok, warning

Told: TypeAlias = Mapping[str, str]
"""What a server says of itself, by the names of ``INFO`` and ``CONFIG GET``."""

SLOW: Final = 0.01
"""How many seconds an answer should take at the most."""

SKEW: Final = 5.0
"""How many seconds the clocks may differ."""

SLOTS: Final = "16384"

_ASKED: Final = 20
_BEFORE_SLOTS: Final = 5
_SETTINGS: Final = ("appendfsync", "save", "min-replicas-to-write", "maxmemory-policy")


async def examine(url: str) -> list[Finding]:
    """Return what is found of the store at *url*, and of each primary of a cluster."""
    where = parse_url(url)
    if not where.is_cluster:
        return await _server(where)
    try:
        nodes, state = await _cluster(where)
    except EngineUnavailable as error:
        return [failure("engine", str(error))]
    findings = [*cluster(state)]
    for node in primaries(nodes):
        one = attrs.evolve(where, addresses=(node,), is_cluster=False)
        findings += await _server(one)
    return findings


async def _cluster(where: StoreUrl) -> tuple[str, Told]:
    store = Store(where)
    try:
        nodes, state = await _answers(store, ["CLUSTER", "NODES"], ["CLUSTER", "INFO"])
    finally:
        await store.close()
    return _text(nodes), parsed(_text(state))


async def _server(where: StoreUrl) -> list[Finding]:
    store = Store(where)
    try:
        told, ahead = await _told(store)
        seconds = await _seconds_an_answer(store)
    except EngineUnavailable as error:
        return [failure("engine", str(error))]
    finally:
        await store.close()
    return [
        *server(told, str(where), ahead),
        latency("an answer", seconds, slow=SLOW, advice="every call waits for some"),
    ]


async def _told(store: Store) -> tuple[Told, float]:
    (info,) = await _answers(store, ["INFO"])
    before = time.time()
    (clock,) = await _answers(store, ["TIME"])
    settings: dict[str, str] = {}
    for name in _SETTINGS:
        try:
            (answer,) = await _answers(store, ["CONFIG", "GET", name])
        except EngineUnavailable:
            continue  # A store that somebody else runs may not tell.
        settings |= _pairs(answer)
    seconds, micros = (int(part) for part in _texts(clock))
    ahead = seconds + micros / 1e6 - before
    return {**parsed(_text(info)), **settings}, ahead


async def _answers(store: Store, *commands: Command) -> list[object]:
    answers = await store.run(commands)
    for answer in answers:
        if isinstance(answer, EngineUnavailable):
            raise answer
    return answers


async def _seconds_an_answer(store: Store) -> float:
    times = []
    for _ in range(_ASKED):
        began = time.perf_counter()
        await _answers(store, ["PING"])
        times.append(time.perf_counter() - began)
    return median(times)


def _text(answer: object) -> str:
    return answer.decode() if isinstance(answer, bytes) else str(answer)


def _texts(answer: object) -> list[str]:
    return [_text(part) for part in answer] if isinstance(answer, list) else []


def _pairs(answer: object) -> dict[str, str]:
    if isinstance(answer, dict):
        return {_text(name): _text(value) for name, value in answer.items()}
    values = _texts(answer)
    return dict(zip(values[::2], values[1::2], strict=True))


def parsed(info: str) -> Told:
    """Read what ``INFO`` and ``CLUSTER INFO`` answer."""
    lines = (line.partition(":") for line in info.splitlines())
    return {name: value for name, colon, value in lines if colon}


def primaries(nodes: str) -> list[tuple[str, int]]:
    """Return the addresses of those that serve slots, as ``CLUSTER NODES`` says."""
    found = []
    for line in nodes.splitlines():
        _, address, flags, *rest = line.split()
        has_slots = len(rest) > _BEFORE_SLOTS
        if has_slots and {"master", "fail"} & {*flags.split(",")} == {"master"}:
            host, _, port = address.partition("@")[0].rpartition(":")
            found.append((host.strip("[]"), int(port)))
    return found


def cluster(state: Told) -> Iterator[Finding]:
    """Tell how a cluster is as a whole."""
    covered = state.get("cluster_slots_ok", "?")
    size = state.get("cluster_size", "?")
    if state.get("cluster_state") == "ok" and covered == SLOTS:
        yield ok("cluster", f"{size} primaries serve all slots")
    else:
        yield failure("cluster", f"{covered} of {SLOTS} slots are served")


def server(told: Told, where: str, ahead: float = 0.0) -> Iterator[Finding]:
    """Tell of one server what it says of itself; its clock is *ahead* by seconds."""
    name = "valkey" if "valkey_version" in told else "redis"
    version = told.get("valkey_version") or told.get("redis_version", "?")
    role = told.get("role", "?")
    says = f"{name} {version} at {where}, {role}, {told.get('used_memory', '?')} bytes"
    yield (
        ok("engine", says)
        if role == "master"
        else failure("engine", f"{says}: expected a primary, this takes no write")
    )
    yield _keeping(told)
    yield _memory(told)
    yield _replicas(told)
    if abs(ahead) > SKEW:
        yield warning("clock", f"it is {ahead:+.0f} s off this machine's: set them")


def _keeping(told: Told) -> Finding:
    if told.get("aof_enabled") == "1":
        if told.get("aof_last_write_status", "ok") != "ok":
            return failure("keeps data", "its append-only file cannot be written")
        match told.get("appendfsync", "everysec"):
            case "always":
                return ok("keeps data", "after every answer, also when the power fails")
            case "no":
                return warning(
                    "keeps data",
                    "when it is restarted; a loss of power takes what its system had "
                    "not written, often half a minute: set appendfsync everysec",
                )
            case _:
                return ok(
                    "keeps data",
                    "when it is restarted; a loss of power takes its last second",
                )
    if told.get("save"):
        return warning(
            "keeps data",
            f"up to its last snapshot (save {told['save']!r}): what came later is lost "
            "when it is restarted; set appendonly yes",
        )
    return failure(
        "keeps data", "not at all: a restart loses everything; set appendonly yes"
    )


def _memory(told: Told) -> Finding:
    policy = told.get("maxmemory-policy") or told.get("maxmemory_policy", "?")
    if told.get("maxmemory", "0") == "0":
        return ok("eviction", "none; its memory has no bound (maxmemory 0)")
    if policy == "noeviction":
        return ok("eviction", "none; when its memory is full, calls are 503")
    return failure(
        "eviction",
        f"{policy}: it throws mailboxes away when its memory is full; set "
        "maxmemory-policy noeviction",
    )


def _replicas(told: Told) -> Finding:
    count = told.get("connected_slaves", "0")
    if count == "0":
        return warning("replicas", "none: while it is away, calls are 503")
    says = f"{count}, which are a little behind: a failover may lose what came last"
    if told.get("min-replicas-to-write", "0") == "0":
        return warning(
            "replicas",
            f"{says}, and so does a primary that is cut off: set "
            "min-replicas-to-write 1. Clients are told by reset",
        )
    return ok("replicas", f"{says}; clients are told by reset")
