"""Checks of what a Valkey or Redis server reports about itself."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Final, TypeAlias

from .finding import Finding, failure, ok, warning

Info: TypeAlias = Mapping[str, str]
"""State and settings of a server, by the names of ``INFO`` and ``CONFIG GET``."""

MAX_CLOCK_OFFSET: Final = 5.0
"""Offset of the server's clock above which the finding is a warning, in seconds."""

SLOTS: Final = "16384"

_FIELDS_BEFORE_SLOTS: Final = 5


def parse_info(text: str) -> Info:
    """Parse the reply to ``INFO`` or ``CLUSTER INFO``."""
    lines = (line.partition(":") for line in text.splitlines())
    return {name: value for name, colon, value in lines if colon}


def primaries(nodes: str) -> list[tuple[str, int]]:
    """Return the addresses of the primaries with slots in a ``CLUSTER NODES`` reply."""
    found = []
    for line in nodes.splitlines():
        _, address, flags, *rest = line.split()
        has_slots = len(rest) > _FIELDS_BEFORE_SLOTS
        if has_slots and {"master", "fail"} & {*flags.split(",")} == {"master"}:
            host, _, port = address.partition("@")[0].rpartition(":")
            found.append((host.strip("[]"), int(port)))
    return found


def check_cluster(info: Info) -> Iterator[Finding]:
    """Check that a cluster serves all slots."""
    covered = info.get("cluster_slots_ok", "?")
    size = info.get("cluster_size", "?")
    if info.get("cluster_state") == "ok" and covered == SLOTS:
        yield ok("cluster", f"{size} primaries serve all slots")
    else:
        yield failure("cluster", f"{covered} of {SLOTS} slots are served")


def check_server(info: Info, address: str, clock_offset: float) -> Iterator[Finding]:
    """Check one server, whose clock is ahead by *clock_offset* seconds."""
    name = "valkey" if "valkey_version" in info else "redis"
    version = info.get("valkey_version") or info.get("redis_version", "?")
    role = info.get("role", "?")
    size = info.get("used_memory", "?")
    message = f"{name} {version} at {address}, {role}, {size} bytes"
    if role == "master":
        yield ok("engine", message)
    else:
        yield failure("engine", f"{message}: expected a primary")
    yield _durability(info)
    yield _eviction(info)
    yield _replicas(info)
    if abs(clock_offset) > MAX_CLOCK_OFFSET:
        message = f"{clock_offset:+.0f} s off this machine's clock; use NTP"
        yield warning("clock", message)


def _durability(info: Info) -> Finding:
    if info.get("aof_enabled") == "1":
        return _append_only_file(info)
    if info.get("save"):
        return warning(
            "durability",
            f"a restart loses all writes since the last snapshot "
            f"(save {info['save']!r}); set appendonly yes",
        )
    return failure("durability", "a restart loses everything; set appendonly yes")


def _append_only_file(info: Info) -> Finding:
    if info.get("aof_last_write_status", "ok") != "ok":
        return failure("durability", "the append-only file cannot be written")
    policy = info.get("appendfsync", "everysec")
    if policy == "always":
        return ok("durability", "acknowledged writes survive a power failure")
    message = "writes survive a restart; a power failure loses"
    if policy == "no":
        lost = "what the system had not written, often half a minute"
        return warning("durability", f"{message} {lost}; set appendfsync everysec")
    return ok("durability", f"{message} the last second")


def _eviction(info: Info) -> Finding:
    policy = info.get("maxmemory-policy") or info.get("maxmemory_policy", "?")
    if info.get("maxmemory", "0") == "0":
        return ok("eviction", "none; the memory is unlimited (maxmemory 0)")
    if policy == "noeviction":
        return ok("eviction", "none; when the memory is full, calls are 503")
    return failure(
        "eviction",
        f"{policy}: the server deletes mailboxes when its memory is full; set "
        "maxmemory-policy noeviction",
    )


def _replicas(info: Info) -> Finding:
    count = info.get("connected_slaves", "0")
    if count == "0":
        return warning("replicas", "none: while the server is down, calls are 503")
    message = f"{count}; a failover may lose the last writes, and clients get reset"
    if info.get("min-replicas-to-write", "0") != "0":
        return ok("replicas", message)
    return warning(
        "replicas",
        f"{message}. A primary without connection to its replicas still accepts "
        "writes and loses them; set min-replicas-to-write 1",
    )
