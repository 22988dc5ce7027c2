"""The client half of the wire format: bytes in any pieces become events.

The rules are those of WHATWG HTML 9.2.6. Each chunk is decoded once, its line ends
become LF, and it is split by the string methods that run in C. Only what outlives a
chunk is copied, as UTF-8 into bytearrays: they grow in amortised constant time, hold
nothing but the text, and their length is what the budget counts.
"""

from __future__ import annotations

from codecs import utf_8_decode
from typing import NoReturn, final

from ._errors import LocalProtocolError, RemoteProtocolError
from ._event import MAX_RETRY, Event

_FIELDS = (b"data:", b"event:", b"id:", b"retry:")
_IGNORED = "ignored"  # stands in for a line that was not kept: no field's name


@final
class Parser:
    """Turns the bytes of one event stream into events.

    A parser serves one connection. *last_event_id* is the one the request carried;
    events without an id go on reporting it (WPT format-field-id).

    *max_event_size* bounds, in bytes of UTF-8, all that a peer can make a parser
    hold: the unfinished line, the data, the type and the id. What is ignored takes no
    memory and does not count. An event that crosses it is lost as a whole, with its
    id, and `RemoteProtocolError` is raised: at once or, if the same chunk completed
    events before, by the next call, and by each one after that.

    With *comments*, those that the latest `receive_data()` completed are in
    `comments`, and they count like fields.
    """

    def __init__(
        self,
        last_event_id: str = "",
        *,
        max_event_size: int = 1 << 20,
        comments: bool = False,
    ) -> None:
        if (size := _size(last_event_id)) > max_event_size:
            raise LocalProtocolError(
                f"last_event_id: expected at most {max_event_size} bytes, got {size}"
            )
        self.last_event_id = last_event_id
        """What a reconnect presents as ``Last-Event-ID``; empty means nothing."""
        self.retry: int | None = None
        """The reconnection time in milliseconds; ``None`` if the peer set none."""
        self.comments: list[str] = []
        self._fields = (*_FIELDS, b":") if comments else _FIELDS
        self._max_event_size = max_event_size
        self._allowance = 0
        self._open = True
        self._failed = False
        # The start of a character whose other bytes are still to come.
        self._partial = b""
        # A character that is swallowed if it comes next: the BOM of the stream (WHATWG
        # Encoding, "UTF-8 decode"), or the LF of a CRLF that was cut.
        self._skip = "\ufeff"
        # The unfinished line, and whether its end is awaited only to forget it.
        self._line = bytearray()
        self._ignoring = False
        # The buffers of WHATWG HTML 9.2.6. The data buffer is in two parts: what came
        # in earlier chunks, each line with its LF, and the lines of this one.
        self._data = bytearray()
        self._lines: list[str] = []
        self._type = ""
        self._id = last_event_id

    def receive_data(self, data: bytes) -> list[Event]:
        """Take the next bytes and give the events they complete.

        An event comes with the byte that ends its blank line, be it a CR. Its ``id``
        is the last event id of the connection at that moment, ``""`` if there is none.
        """
        if not self._open:
            self._refuse()
        if self.comments:
            self.comments = []
        text = self._decode(data)
        self._allowance -= len(text)
        roomy = self._allowance >= 0 or self._has_room(text)
        lines = text.split("\n")
        rest = lines.pop()
        if lines and (self._line or self._ignoring):
            lines[0] = self._finish_line(lines[0])
        events = self._parse(lines) if roomy else self._parse_measured(lines)
        if self._lines:
            self._keep_data()
        if rest and not self._failed:
            self._keep_line(rest)
        if self._failed:
            self._open = False
            return events or self._refuse()
        return events

    def receive_eof(self) -> None:
        """Take the end of the stream: what is unfinished is discarded, even an id."""
        if self._failed:
            self._refuse()
        self._open = False

    def _refuse(self) -> NoReturn:
        if self._failed:
            raise RemoteProtocolError(
                "expected events, with their ids, of at most "
                f"max_event_size={self._max_event_size} bytes, got a longer one"
            )
        raise LocalProtocolError("receive_data: not possible after receive_eof()")

    def _decode(self, data: bytes) -> str:
        """Decode *data* and make all its line ends LF."""
        if self._partial:
            data = self._partial + data
            self._partial = b""
        text, used = utf_8_decode(data, "replace", False)
        if used < len(data):
            self._partial = bytes(data[used:])
        if self._skip and text:
            text = text.removeprefix(self._skip)
            self._skip = ""
        if "\r" in text:
            # A CR ends its line now. To wait for the LF that may follow would hold an
            # event back for as long as the peer is silent.
            self._skip = "\n" if text[-1] == "\r" else ""
            text = text.replace("\r\n", "\n").replace("\r", "\n")
        return text

    def _has_room(self, text: str) -> bool:
        """Tell whether the budget suffices, however much of *text* will be held.

        If so, no line need be measured. The allowance counts characters, of 4 bytes at
        most: all that arrive are taken off it, and only when spent is it found anew.
        """
        self._allowance = (self._room() - len(self._line)) // 4 - len(text)
        return self._allowance >= 0

    def _room(self) -> int:
        held = len(self._data) + _size(self._type) + _size(self._id)
        return self._max_event_size - held

    def _parse(self, lines: list[str]) -> list[Event]:
        events = []
        data = self._lines
        for line in lines:
            if line.startswith("data: "):
                data.append(line[6:])
            elif line:
                # An idle stream is made of comments, so they are dropped right here.
                if line[0] != ":" or self._fields is not _FIELDS:
                    self._parse_field(line)
            else:
                # An id counts here, and even if there is no data to dispatch.
                self.last_event_id = self._id
                if data or self._data:
                    events.append(self._take_event())
                self._type = ""
        return events

    def _parse_measured(self, lines: list[str]) -> list[Event]:
        """Parse up to the line that crosses the budget, if there is one."""
        events: list[Event] = []
        for line in lines:
            if f"{line}:".encode().startswith(self._fields):
                self._failed = _size(line) > self._room()
                if self._failed:
                    break
            events += self._parse([line])
            self._keep_data()
        return events

    def _parse_field(self, line: str) -> None:
        name, _, value = line.partition(":")
        value = value.removeprefix(" ")
        match name:
            case "":
                self.comments.append(value)
            case "data":
                self._lines.append(value)
            case "event":
                self._type = value
            case "id" if "\0" not in value:
                self._id = value
            case "retry" if value.isascii() and value.isdigit():
                digits = value.lstrip("0")[:16] or "0"
                self.retry = min(int(digits), MAX_RETRY)

    def _take_event(self) -> Event:
        """Empty the data buffer into an event, less the LF of its last line."""
        if self._data:
            self._lines.insert(0, self._data[:-1].decode())
            self._data.clear()
        event = Event("\n".join(self._lines), self._type or "message", self._id)
        self._lines.clear()
        return event

    def _keep_data(self) -> None:
        self._data += "".join([f"{line}\n" for line in self._lines]).encode()
        self._lines.clear()

    def _keep_line(self, text: str) -> None:
        """Keep a piece of the unfinished line, unless the line cannot matter."""
        if self._ignoring:
            return
        self._line += text.encode()
        if self._line.startswith(self._fields):
            self._failed = len(self._line) > self._room()
        elif not any(field.startswith(self._line) for field in self._fields):
            self._ignoring = True
            self._line.clear()

    def _finish_line(self, text: str) -> str:
        line = _IGNORED if self._ignoring else self._line.decode() + text
        self._ignoring = False
        self._line.clear()
        return line


def _size(text: str) -> int:
    # Only an id that the caller gave can hold a lone surrogate.
    return len(text.encode(errors="surrogatepass"))
