"""The signals of a service process, and what they do before it handles them."""

from __future__ import annotations

import signal
import sys

END_SIGNALS = (signal.SIGTERM, signal.SIGINT)
"""The signals that start a graceful shutdown."""

# The signal that reads secrets, key files and CORS origins again.
if sys.platform == "win32":
    RELOAD_SIGNAL = signal.SIGBREAK
else:
    RELOAD_SIGNAL = signal.SIGHUP


def ignore_reload_signal() -> None:
    """Ignore the signal until the service handles it; by default it ends a process."""
    signal.signal(RELOAD_SIGNAL, signal.SIG_IGN)


def ignore_end_signals() -> None:
    """Ignore the signals in a worker, because the parent handles them.

    A process group's signal reaches the worker as well, perhaps after the parent has
    started the drain. It must not count as the second signal.
    """
    for each in END_SIGNALS:
        signal.signal(each, signal.SIG_IGN)
