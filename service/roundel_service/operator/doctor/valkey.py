"""Queries a Valkey or Redis store for its state and settings."""

from __future__ import annotations

import re
import time
from collections.abc import Sequence
from statistics import median
from typing import Final

import attrs

from ...engines.base import EngineUnavailable
from ...engines.valkey.client import Command
from ...engines.valkey.connection import StoreRefused
from ...engines.valkey.keys import Keys
from ...engines.valkey.metadata import LAYOUT, UPGRADED_LAYOUTS, missing_permissions
from ...engines.valkey.scripts import CHECK_WRITABLE
from ...engines.valkey.store import Store
from ...engines.valkey.url import StoreUrl, parse_url
from .finding import Finding, failure, latency, ok
from .server_info import Info, check_cluster, check_server, parse_info, primaries

SLOW_REPLY: Final = 0.01
"""Latency of a reply from which the finding is a warning, in seconds."""

_COMMAND: Final = re.compile("run the '([a-z|]+)' command")
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
        if missing := await _missing_rules(store):
            return [_permissions(missing)]
        layout = await _layout(store)
        refusal = await _write_refusal(store)
        info, clock_offset = await _server_info(store)
        seconds = await _reply_latency(store)
    except EngineUnavailable as error:
        return [failure("engine", str(error))]
    finally:
        await store.close()
    advice = "every call waits for several replies; use a faster network or server"
    return [
        *check_server(info, str(url), clock_offset),
        *layout,
        *refusal,
        _permissions([]),
        latency("a reply", seconds, slow=SLOW_REPLY, advice=advice),
    ]


async def _missing_rules(store: Store) -> list[str]:
    """Return the rules that the access list of the URL's user lacks."""
    try:
        (missing,) = await store.run_or_raise(
            [missing_permissions(Keys(store.url.prefix))]
        )
    except StoreRefused as error:
        if error.code != "PERMISSIONDENIED":
            raise
        return [f"+{name}" for name in _COMMAND.findall(str(error))] or [str(error)]
    return [_text(rule) for rule in missing]


async def _layout(store: Store) -> list[Finding]:
    """Return a finding about the layout of the mailboxes, if the server has any."""
    (reply,) = await store.run([["HGET", Keys(store.url.prefix).metadata, "layout"]])
    # Another node of a cluster has the key, or it is no hash.
    if reply is None or isinstance(reply, StoreRefused):
        return []
    found = _text(reply)
    if found == LAYOUT:
        return [ok("layout", found)]
    if reply in UPGRADED_LAYOUTS:
        message = f"{found}; the first start replaces it with {LAYOUT}: before, stop"
        return [ok("layout", f"{message} the nodes of the old version")]
    message = f"{found}, expected {LAYOUT}: run the version that wrote it"
    return [failure("layout", f"{message}, or use another prefix")]


async def _write_refusal(store: Store) -> list[Finding]:
    """Return a finding if the server refuses writes, for example because it is full."""
    keys = Keys(store.url.prefix)
    names = [keys.data_id(0), keys.unused(0)]
    (reply,) = await store.run([CHECK_WRITABLE.call(names, [])])
    # A node of a cluster can answer that another node has the keys.
    if isinstance(reply, StoreRefused) and reply.is_lasting:
        return [failure("writes", str(reply))]
    return []


def _permissions(missing: Sequence[str]) -> Finding:
    if not missing:
        return ok("permissions", "the user may run each command of the engine")
    rules = " ".join(missing)
    return failure("permissions", f"the user lacks {rules}; set them by ACL SETUSER")


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
