"""Notifies the service manager, as sd_notify(3) of systemd does."""

from __future__ import annotations

import os
import socket
import time

import trio

VARIABLE = "NOTIFY_SOCKET"
"""The variable with the name of the manager's socket."""

NOTIFY_TIMEOUT = 1.0
"""Seconds that a full socket of the manager can delay a notification."""


async def notify(*states: str) -> None:
    """Send *states*, such as ``READY=1``, if a manager waits for them.

    A name in `VARIABLE` that begins with ``@`` is abstract. A failure is ignored: it
    must not end the service.
    """
    name = os.environ.get(VARIABLE, "")
    if not name.startswith(("/", "@")):
        return
    message = "\n".join(states).encode()
    try:
        with trio.socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sock:
            with trio.move_on_after(NOTIFY_TIMEOUT):
                # Connected: only then the kernel reports when a full queue has room.
                await sock.connect(name.replace("@", "\0", 1))
                await sock.send(message)
    except (OSError, ValueError):
        return


def leave_to_parent() -> None:
    """Send nothing from this process: the manager hears of a service once."""
    os.environ.pop(VARIABLE, None)


def reloading() -> tuple[str, str]:
    """Return the states that announce a reload; ``READY=1`` ends it."""
    # systemd compares it with CLOCK_MONOTONIC of its request (sd_notify(3)).
    return "RELOADING=1", f"MONOTONIC_USEC={time.monotonic_ns() // 1_000}"
