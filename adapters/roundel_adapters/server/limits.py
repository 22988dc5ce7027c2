"""What one peer may cost, and what has been counted of it."""

from __future__ import annotations

from typing import final

import attrs


@final
@attrs.frozen(kw_only=True)
class ServerLimits:
    """What the server bears from its peers; times in seconds, sizes in bytes.

    A peer that takes nothing for *write_timeout* is cut, and so is one that takes
    four times as long for 64 KiB: whoever takes a little all the time is not cut for
    the size of what it is sent, but nobody is waited for without end.
    *drain_timeout* bounds the end: whatever any peer does by then, the server is gone.

    A request's head, or a TLS handshake, has to be there *head_timeout* after it
    began, and a new connection has to begin by then. Between two requests a
    connection may idle for *keep_alive_timeout*; the default outlasts the 60 s of
    the usual proxies, so that it is they who close. A body may take its time: that
    time is the application's to limit.

    Above *max_connections* a new connection is closed at once; none is ever evicted.
    What is left of the process's limit of open files, less a reserve, bounds it too.
    A head above *max_head* is answered 431, a target above *max_target* 414. The
    head of an HTTP/2 request is its header list, which counts 32 more a field.

    On one HTTP/2 connection *max_streams* requests may be open, and *max_resets* may
    be taken back at once, then *resets_per_second*; beyond that it is closed.
    """

    write_timeout: float = 30.0
    drain_timeout: float = 20.0
    head_timeout: float = 10.0
    keep_alive_timeout: float = 75.0
    max_connections: int = 22_000
    max_head: int = 16 * 1024
    max_target: int = 8 * 1024
    max_streams: int = 100
    max_resets: int = 1_000
    resets_per_second: float = 33.0


@final
@attrs.define
class ServerCounters:
    """What the server has seen: *open* connections now, the rest since it started.

    *rejected* were closed for want of room, *cut* for taking nothing of what they
    were sent, and *failed* ended by an error of ours.
    """

    open: int = 0
    rejected: int = 0
    cut: int = 0
    failed: int = 0
