"""Servers without handlers of SIGTERM: `waitress APP FD`, or `werkzeug APP PORT`."""

from __future__ import annotations

import importlib
import signal
import socket
import sys

from . import shared


def main(server, name, number):
    module, _, attribute = name.partition(":")
    app = getattr(importlib.import_module(module), attribute)
    # They stop at a KeyboardInterrupt, and have no handler of SIGTERM.
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    shared.topics.drain.handle_signals()
    if server == "waitress":
        from waitress import serve

        serve(app, sockets=[socket.socket(fileno=number)], threads=100)
    else:
        from werkzeug.serving import run_simple

        run_simple("127.0.0.1", number, app, threaded=True)


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2], int(sys.argv[3]))
