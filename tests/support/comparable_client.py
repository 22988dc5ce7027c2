"""A client whose responses can be compared between two ways of serving a request.

Not compared are the reason phrase, the order and case of the field names, the sizes of
chunks, and what is random or depends on the time.
"""

from __future__ import annotations

import re
from contextlib import suppress

import attrs
import h11
import trio

RANDOM = {
    rb"\b[0-9A-HJKMNP-TV-Z]{26}\b": b"ULID",
    rb"eyJ[\w-]+\.[\w-]+\.[\w-]+": b"TICKET",
    rb"\"epoch\":\"[\w-]{12}\"": b"EPOCH",
    rb"\"max_age\":\d+": b"MAX_AGE",
}
"""Patterns of what differs between any two responses, and what to put in its place."""


@attrs.frozen
class Received:
    """One response, with what is random in it replaced."""

    status: int
    headers: list[tuple[bytes, bytes]]
    body: bytes
    is_complete: bool


class ComparableClient:
    """Sends bytes, and reads responses with h11 in a form that can be compared."""

    def __init__(self, stream):
        self._stream = stream
        self._rest = b""

    async def send(self, data):
        with suppress(trio.BrokenResourceError):
            await self._stream.send_all(data)
        # The server reads what was sent before more is sent.
        await trio.testing.wait_all_tasks_blocked(0.002)

    async def read(self, method="GET", events=None):
        """Return the next response, or `None` at the end of the connection."""
        parser = h11.Connection(h11.CLIENT, max_incomplete_event_size=1 << 20)
        parser.send(h11.Request(method=method, target="/", headers=[("Host", "x")]))
        parser.send(h11.EndOfMessage())
        if self._rest:
            parser.receive_data(self._rest)
            self._rest = b""
        head, body = None, b""
        while True:
            event = parser.next_event()
            match event:
                case h11.NEED_DATA:
                    if not (data := await self._receive()) and head is None:
                        return None
                    parser.receive_data(data)
                case h11.Response():
                    head = event
                case h11.Data():
                    body += event.data
                    if events is not None and body.count(b"\n\n") >= events:
                        return _received(head, body, is_complete=False)
                case h11.EndOfMessage():
                    self._rest = parser.trailing_data[0]
                    return _received(head, body, is_complete=True)

    async def _receive(self):
        try:
            return await self._stream.receive_some()
        except trio.BrokenResourceError:
            return b""


def _received(head, body, *, is_complete):
    fields = []
    for name, value in head.headers.raw_items():
        name = name.lower()
        if name == b"date" or (name == b"x-request-id" and len(value) == 16):
            value = b"*"
        fields.append((name, _replaced(value)))
    if not is_complete:
        fields = [field for field in fields if field[0] != b"connection"]
    return Received(head.status_code, sorted(fields), _replaced(body), is_complete)


def _replaced(data):
    for pattern, name in RANDOM.items():
        data = re.sub(pattern, name, data)
    return data
