"""Runs an application on the project's own server: `APP FD`."""

from __future__ import annotations

import importlib
import signal
import socket
import sys
from functools import partial

import trio

from roundel_adapters import server

WRITE_TIMEOUT = 0.5


async def run(name, fd):
    module, _, attribute = name.partition(":")
    app = getattr(importlib.import_module(module), attribute)
    sock = trio.socket.from_stdlib_socket(socket.socket(fileno=fd))
    # Trio's handler is a Python function, so that a drain can run in front of it.
    with trio.open_signal_receiver(signal.SIGTERM) as signals:
        await server.serve(
            app,
            [trio.SocketListener(sock)],
            shutdown=partial(anext, signals),
            # Its own timeout, in place of the response's.
            limits=server.ServerLimits(write_timeout=WRITE_TIMEOUT),
        )


if __name__ == "__main__":
    trio.run(run, sys.argv[1], int(sys.argv[2]))
