"""An HTTP client with sockets of its own, for the scenarios."""

from __future__ import annotations

import json
import socket
import struct
from collections import deque
from http.client import HTTPConnection

from roundel import Parser

TIMEOUT = 30.0
"""Timeout of each socket call in seconds, which no scenario waits for."""

HEADERS = {"Accept-Encoding": "gzip", "Origin": "https://app.example"}
"""The headers of a browser that middleware reacts to."""


def connect(address, *, buffer=None):
    """Return an HTTP connection; *buffer* is the size of its receive buffer."""
    sock = socket.socket()
    sock.settimeout(TIMEOUT)
    # The head and the body of a request are two writes.
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    if buffer is not None:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, buffer)
    sock.connect(address)
    connection = HTTPConnection(*address)
    connection.sock = sock
    return connection


class Reader:
    """An open event stream."""

    def __init__(self, address, target, *, headers=(), buffer=None):
        self._connection = connect(address, buffer=buffer)
        # It stays when the connection gives its socket to the response.
        self._socket = self._connection.sock
        self._connection.request("GET", target, headers={**HEADERS, **dict(headers)})
        self._response = None
        self._events = deque()
        self._parser = Parser(comments=True)

    def __enter__(self):
        return self

    def __exit__(self, *exc):
        self.close()

    def close(self):
        """Disconnect."""
        if self._response is not None:
            self._response.close()
        self._connection.close()
        self._socket.close()

    def reset(self):
        """Disconnect with a TCP reset."""
        linger = struct.pack("ii", 1, 0)
        self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
        self.close()

    @property
    def response(self):
        """The response's head."""
        if self._response is None:
            self._response = self._connection.getresponse()
        return self._response

    @property
    def last_event_id(self):
        return self._parser.last_event_id

    @property
    def retry(self):
        return self._parser.retry

    def next_event(self):
        """Wait for the next event; return `None` at the stream's end."""
        while not self._events:
            if not self._receive():
                return None
        return self._events.popleft()

    def next_comment(self):
        """Wait for the next chunk with a comment, and return the comment."""
        while self._receive():
            if self._parser.comments:
                return self._parser.comments[0]
        return None

    def _receive(self):
        data = self.response.read1()
        self._events.extend(self._parser.receive_data(data))
        return data


class Producer:
    """A connection for the other requests."""

    def __init__(self, address, prefix):
        self._address = address
        self._prefix = prefix
        self._connection = connect(address)

    def close(self):
        self._connection.close()

    def request(self, method, path, body=None):
        """Send a request."""
        self._connection.request(method, self._prefix + path, body)

    def response(self):
        """Return the response's head and body."""
        response = self._connection.getresponse()
        return response, response.read()

    def publish(self, topic, data):
        self.request("POST", f"/publish/{topic}", data.encode())
        response, body = self.response()
        assert response.status in (200, 201, 204), body

    def stats(self):
        self.request("GET", "/stats")
        return json.loads(self.response()[1])
