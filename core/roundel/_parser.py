"""The parser of the wire format: chunks of bytes become events (WHATWG HTML 9.2.6).

Each chunk is decoded once, its line ends become LF, and string methods that run in C
split it. Text that outlives its chunk, the unfinished line and the data of the
unfinished event, is copied as UTF-8 into bytearrays: they grow in amortised O(1), and
their length is what *max_event_size* bounds. Parsing is O(n) in the bytes received,
however they are cut into chunks.

Measuring each line would cost more than parsing it. `_unchecked_budget` counts the
characters that certainly fit, at 4 bytes each. While a chunk fits, `_parse()` takes
its lines without measuring them; otherwise `_parse_measured()` checks each line.
"""

from __future__ import annotations

from codecs import utf_8_decode
from typing import NoReturn, final

from ._errors import LocalProtocolError, RemoteProtocolError
from ._event import MAX_RETRY, Event

_FIELDS = (b"data:", b"event:", b"id:", b"retry:")
_IGNORED = "ignored"  # Replaces a line that was not kept; no field has this name.


@final
class Parser:
    """Parses the bytes of one connection into events.

    *last_event_id* is the id that the request presented. Events without an id inherit
    it (WPT format-field-id).

    *max_event_size* bounds, in bytes of UTF-8, the memory that a peer can fill: the
    unfinished line, the data, the type and the id. Ignored lines take no memory. An
    event over the bound is discarded with its id, and `RemoteProtocolError` is raised:
    at once or, if the same chunk completed other events, by the next call. Each later
    call raises it too.

    With *comments*, `comments` holds the comments of the latest `receive_data()`, and
    they count like fields.
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
        self.last_event_id: str = last_event_id
        """The id that a reconnect presents as ``Last-Event-ID``; empty sends none."""
        self.retry: int | None = None
        """The reconnection time in milliseconds; `None` if the peer set none."""
        self.comments: list[str] = []
        self._fields = (*_FIELDS, b":") if comments else _FIELDS
        self._max_event_size = max_event_size
        self._unchecked_budget = 0
        self._open = True
        self._failed = False
        # The first bytes of a character that the chunk cut.
        self._partial = b""
        # A character to ignore if it comes next: the BOM of the stream (WHATWG
        # Encoding, "UTF-8 decode"), or the LF of a CRLF that the chunk cut.
        self._skip_next = "\ufeff"
        # The unfinished line, or nothing if the line is ignored.
        self._line = bytearray()
        self._ignoring_line = False
        # The buffers of WHATWG HTML 9.2.6. The data buffer has two parts: the lines of
        # earlier chunks, each with its LF, and the lines of this chunk.
        self._data = bytearray()
        self._lines: list[str] = []
        self._type = ""
        self._id = last_event_id

    def receive_data(self, data: bytes) -> list[Event]:
        """Parse the next bytes and return the events that they complete.

        An event is complete with the first byte of the line end of its blank line. Its
        ``id`` is the connection's last event id at that moment, ``""`` without one.
        """
        if not self._open:
            self._raise_error()
        if self.comments:
            self.comments = []
        text = self._decode(data)
        self._unchecked_budget -= len(text)
        fits = self._unchecked_budget >= 0 or self._surely_fits(text)
        lines = text.split("\n")
        rest = lines.pop()
        if lines and (self._line or self._ignoring_line):
            lines[0] = self._finish_line(lines[0])
        events = self._parse(lines) if fits else self._parse_measured(lines)
        if self._lines:
            self._buffer_data()
        if rest and not self._failed:
            self._buffer_line(rest)
        if self._failed:
            self._open = False
            return events or self._raise_error()
        return events

    def receive_eof(self) -> None:
        """End the stream; an unfinished event is discarded, with its id."""
        if self._failed:
            self._raise_error()
        self._open = False

    def _raise_error(self) -> NoReturn:
        if self._failed:
            raise RemoteProtocolError(
                "expected events, with their ids, of at most "
                f"max_event_size={self._max_event_size} bytes, got a longer one"
            )
        raise LocalProtocolError("receive_data: not possible after receive_eof()")

    def _decode(self, data: bytes) -> str:
        """Decode *data* and convert its line ends to LF."""
        if self._partial:
            data = self._partial + data
            self._partial = b""
        text, used = utf_8_decode(data, "replace", False)
        if used < len(data):
            self._partial = bytes(data[used:])
        if self._skip_next and text:
            text = text.removeprefix(self._skip_next)
            self._skip_next = ""
        if "\r" in text:
            # A CR ends its line: waiting for an LF would delay the event until
            # the peer sends something else.
            self._skip_next = "\n" if text[-1] == "\r" else ""
            text = text.replace("\r\n", "\n").replace("\r", "\n")
        return text

    def _surely_fits(self, text: str) -> bool:
        """Recompute the unchecked budget; return whether all of *text* fits."""
        self._unchecked_budget = (
            self._remaining_budget() - len(self._line)
        ) // 4 - len(text)
        return self._unchecked_budget >= 0

    def _remaining_budget(self) -> int:
        used = len(self._data) + _size(self._type) + _size(self._id)
        return self._max_event_size - used

    def _parse(self, lines: list[str]) -> list[Event]:
        events = []
        data = self._lines
        for line in lines:
            if line.startswith("data: "):
                data.append(line[6:])
            elif line:
                # An idle stream consists of comments; skip them without a call.
                if line[0] != ":" or self._fields is not _FIELDS:
                    self._parse_field(line)
            else:
                # The id takes effect here, even without data to dispatch.
                self.last_event_id = self._id
                if data or self._data:
                    events.append(self._take_event())
                self._type = ""
        return events

    def _parse_measured(self, lines: list[str]) -> list[Event]:
        """Parse up to the line that exceeds the budget, if there is one."""
        events: list[Event] = []
        for line in lines:
            if f"{line}:".encode().startswith(self._fields):
                self._failed = _size(line) > self._remaining_budget()
                if self._failed:
                    break
            events += self._parse([line])
            self._buffer_data()
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
        """Move the data buffer into an event, without the LF of its last line."""
        if self._data:
            self._lines.insert(0, self._data[:-1].decode())
            self._data.clear()
        event = Event("\n".join(self._lines), self._type or "message", self._id)
        self._lines.clear()
        return event

    def _buffer_data(self) -> None:
        self._data += "".join([f"{line}\n" for line in self._lines]).encode()
        self._lines.clear()

    def _buffer_line(self, text: str) -> None:
        """Buffer a part of the unfinished line, unless the line is ignored."""
        if self._ignoring_line:
            return
        self._line += text.encode()
        if self._line.startswith(self._fields):
            self._failed = len(self._line) > self._remaining_budget()
        elif not any(field.startswith(self._line) for field in self._fields):
            self._ignoring_line = True
            self._line.clear()

    def _finish_line(self, text: str) -> str:
        line = _IGNORED if self._ignoring_line else self._line.decode() + text
        self._ignoring_line = False
        self._line.clear()
        return line


def _size(text: str) -> int:
    # Only the caller's last_event_id can hold a lone surrogate.
    return len(text.encode(errors="surrogatepass"))
