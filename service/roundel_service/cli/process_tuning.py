"""Process settings for a server with thousands of streams."""

from __future__ import annotations

import gc
import sys
from contextlib import suppress

import structlog

from roundel_adapters.server.serve import RESERVE

_GC_THRESHOLD = 10_000
"""Number of new objects that starts a garbage collection of the youngest.

Such a collection takes up to 1.5 µs for each: with 50,000 the others waited for 66 ms.
"""

_SWITCH_INTERVAL = 0.0005
"""Seconds that a thread runs while another thread waits for the interpreter lock."""

log: structlog.typing.FilteringBoundLogger = structlog.get_logger(__name__)


def prepare_process() -> None:
    """Raise the limit of open files, and tune the collector and the thread switches.

    Reference counting frees nearly all objects, and the default threshold of 700
    would start a collection every few requests. A shorter switch interval makes a
    database thread return its result sooner.
    """
    gc.set_threshold(_GC_THRESHOLD, 100, 100)
    sys.setswitchinterval(_SWITCH_INTERVAL)
    with suppress(ImportError, OSError, ValueError):  # Windows, and odd limits
        import resource

        _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))


def warn_of_few_files(max_streams: int) -> None:
    """Log a warning if the process may not open enough files for *max_streams*."""
    with suppress(ImportError):
        import resource

        _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
        needed = max_streams + RESERVE
        if hard != resource.RLIM_INFINITY and hard < needed:
            log.warning(
                f"open files allow {max(0, hard - RESERVE)} streams, fewer than "
                f"ROUNDEL_MAX_STREAMS={max_streams}: allow {needed} files "
                "(ulimit -n, or LimitNOFILE= of systemd)"
            )
