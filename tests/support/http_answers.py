"""HTTP servers on loopback, with one response or a script of responses."""

from __future__ import annotations

import json
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread


@contextmanager
def answering(status: int, media_type: str, body: str, **headers: str):
    """Run the server; yield its URL and the request lines that it received."""
    received = []

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            received.append(self.requestline)
            self.send_response(status)
            fields = {"Content-Type": media_type, "Content-Length": str(len(body))}
            for name, value in {**fields, **headers}.items():
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(body.encode())

        def log_message(self, *_) -> None:
            pass

    with _running(Handler) as url:
        yield url, received


@contextmanager
def playing(*script):
    """Run a server that plays *script*; yield its URL and the headers it received.

    A step is a status, headers and a document; the last step repeats.
    """
    received = []
    left = list(script)

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            received.append(self.headers)
            self.rfile.read(int(self.headers["Content-Length"]))
            status, headers, document = left.pop(0) if len(left) > 1 else left[0]
            body = json.dumps(document).encode()
            self.send_response(status)
            fields = {"Content-Type": "application/json", "Content-Length": len(body)}
            for name, value in {**fields, **headers}.items():
                self.send_header(name, str(value))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_) -> None:
            pass

    with _running(Handler) as url:
        yield url, received


@contextmanager
def _running(handler):
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    thread = Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
