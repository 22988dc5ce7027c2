"""Limits on what a peer may use, and counters of the connections."""

from __future__ import annotations

from typing import final

import attrs


@final
@attrs.frozen(kw_only=True)
class ServerLimits:
    """Holds the limits of a server. Times are in seconds, sizes in bytes.

    A peer that takes no byte for *write_timeout* is disconnected, and so is a peer that
    takes longer than four times *write_timeout* for 64 KiB. After *drain_timeout* the
    server closes all connections, whatever their state.

    A TLS handshake, the first request of a connection and the head of a request each
    have *head_timeout*. A connection may be idle between requests for
    *keep_alive_timeout*. The default is longer than the 60 s of common proxies, so that
    the proxy closes first. The time of a request's body is limited by the application.

    A new connection above *max_connections* replaces the one that has waited longest
    for a request. It is closed at once if all others serve a request or a stream. The
    process's limit of open files lowers *max_connections*. A head above *max_head* is
    answered 431, and a target above *max_target* 414. The size of an HTTP/2 header list
    includes 32 bytes per field (RFC 9113 6.5.2).

    One HTTP/2 connection may have *max_streams* open requests. Its client may send
    *max_overhead* frames that open or carry nothing in a burst, and
    *overhead_per_second* in the long run: resets, settings, pings and the like. The
    server closes the connection of a client that sends more.
    """

    write_timeout: float = 30.0
    drain_timeout: float = 20.0
    head_timeout: float = 10.0
    keep_alive_timeout: float = 75.0
    max_connections: int = 22_000
    max_head: int = 16 * 1024
    max_target: int = 8 * 1024
    max_streams: int = 100
    max_overhead: int = 1_000
    overhead_per_second: float = 33.0


@final
@attrs.define
class ServerCounters:
    """Counts connections: *open* ones now, the others since the start of the server.

    *rejected* connections were above the limit, *timed_out* ones timed out in a write,
    and *failed* ones ended by an exception in the server.
    """

    open: int = 0
    rejected: int = 0
    timed_out: int = 0
    failed: int = 0
