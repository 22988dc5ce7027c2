"""Queries a Valkey or Redis store for its state and settings."""

from __future__ import annotations

import time
from statistics import median
from typing import Final

import attrs

from ...engines.base import EngineUnavailable
from ...engines.valkey.client import Command
from ...engines.valkey.store import Store
from ...engines.valkey.url import StoreUrl, parse_url
from .finding import Finding, failure, latency
from .server_info import Info, check_cluster, check_server, parse_info, primaries

SLOW_REPLY: Final = 0.01
"""Latency of a reply from which the finding is a warning, in seconds."""

_PINGS: Final = 20
_SETTINGS: Final = ("appendfsync", "save", "min-replicas-to-write", "maxmemory-policy")


async def examine(url: str) -> list[Finding]:
    """Examine the server at *url*, or a cluster and each of its primaries."""
    parsed = parse_url(url)
    if not parsed.is_cluster:
        return await _examine_server(parsed)
    store = Store(parsed)
    try:
        commands: list[Command] = [["CLUSTER", "NODES"], ["CLUSTER", "INFO"]]
        nodes, info = await store.run_or_raise(commands)
    except EngineUnavailable as error:
        return [failure("engine", str(error))]
    finally:
        await store.close()
    findings = [*check_cluster(parse_info(_text(info)))]
    for address in primaries(_text(nodes)):
        node = attrs.evolve(parsed, addresses=(address,), is_cluster=False)
        findings += await _examine_server(node)
    return findings


async def _examine_server(url: StoreUrl) -> list[Finding]:
    store = Store(url)
    try:
        info, clock_offset = await _server_info(store)
        seconds = await _reply_latency(store)
    except EngineUnavailable as error:
        return [failure("engine", str(error))]
    finally:
        await store.close()
    advice = "every call waits for several replies; use a faster network or server"
    return [
        *check_server(info, str(url), clock_offset),
        latency("a reply", seconds, slow=SLOW_REPLY, advice=advice),
    ]


async def _server_info(store: Store) -> tuple[Info, float]:
    """Return state and settings of a server, and the offset of its clock in seconds."""
    (info,) = await store.run_or_raise([["INFO"]])
    start = time.time()
    (clock,) = await store.run_or_raise([["TIME"]])
    seconds, micros = map(int, clock)
    found = {**parse_info(_text(info))}
    for reply in await store.run([["CONFIG", "GET", name] for name in _SETTINGS]):
        # Hosted stores often do not permit CONFIG GET.
        if isinstance(reply, dict):
            found |= {_text(name): _text(value) for name, value in reply.items()}
    return found, seconds + micros / 1e6 - start


async def _reply_latency(store: Store) -> float:
    times = []
    for _ in range(_PINGS):
        start = time.perf_counter()
        await store.run_or_raise([["PING"]])
        times.append(time.perf_counter() - start)
    return median(times)


def _text(reply: object) -> str:
    return reply.decode() if isinstance(reply, bytes) else str(reply)
