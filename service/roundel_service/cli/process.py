"""What a process that serves thousands of streams asks of its system."""

from __future__ import annotations

import gc
import sys

_YOUNG = 50_000
"""After how many new objects the youngest are looked through for cycles."""

_TURN = 0.0005
"""For how many seconds a thread may compute while another wants to."""


def prepare() -> None:
    """Let this process open as many files as it may, and look for cycles less often.

    Nearly everything here is freed without the collector. Its usual threshold of 700
    objects has it look every few requests. A thread that was at the disk does not
    wait long for its turn: others wait for it.
    """
    gc.set_threshold(_YOUNG, 20, 100)
    sys.setswitchinterval(_TURN)
    _raise_open_files()


def _raise_open_files() -> None:
    try:
        import resource
    except ImportError:  # Not on Windows.
        return
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
