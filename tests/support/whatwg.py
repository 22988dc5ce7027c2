"""A literal, slow transcription of the event stream rules.

Two standards are transcribed step by step: WHATWG Encoding, "UTF-8 decoder" and "UTF-8
decode", and WHATWG HTML 9.2.6, "Interpreting an event stream". The module shares no
code with the parser under test and must not be optimised. The quotations are the
standard's.
"""

from __future__ import annotations

import attrs


@attrs.frozen
class Dispatched:
    """The attributes of a MessageEvent that a stream determines."""

    type: str
    data: str
    last_event_id: str


@attrs.define
class EventSource:
    """The state of an EventSource object, and the buffers of its stream."""

    # WPT format-field-id: a reconnect starts from the id of the connection before.
    last_event_id_string: str = ""
    reconnection_time: int | None = None
    dispatched: list[Dispatched] = attrs.Factory(list)

    # "When a stream is parsed, a data buffer, an event type buffer, and a last event ID
    # buffer must be associated with it. They must be initialized to the empty string."
    data_buffer: str = ""
    event_type_buffer: str = ""
    last_event_id_buffer: str = attrs.field()

    @last_event_id_buffer.default
    def _from_the_connection(self) -> str:
        return self.last_event_id_string


def interpret(stream: bytes, last_event_id: str = "") -> EventSource:
    """Interpret the complete *stream*."""
    source = EventSource(last_event_id)
    for line in split_lines(utf8_decode(stream)):
        process_line(source, line)
    # "Once the end of the file is reached, any pending data must be discarded."
    return source


def split_lines(text: str) -> list[str]:
    """Return the lines that end in CRLF, LF or CR; the unfinished last line is dropped.

    "Lines must be separated by either a U+000D CARRIAGE RETURN U+000A LINE FEED (CRLF)
    character pair, a single U+000A LINE FEED (LF) character, or a single U+000D
    CARRIAGE RETURN (CR) character."
    """
    lines = []
    line = ""
    position = 0
    while position < len(text):
        character = text[position]
        position += 1
        if character == "\r":
            if text[position : position + 1] == "\n":
                position += 1
            lines.append(line)
            line = ""
        elif character == "\n":
            lines.append(line)
            line = ""
        else:
            line += character
    return lines


def process_line(source: EventSource, line: str) -> None:
    # "If the line is empty (a blank line): Dispatch the event, as defined below."
    if line == "":
        dispatch(source)
    # "If the line starts with a U+003A COLON character (:): Ignore the line."
    elif line[0] == ":":
        pass
    # "If the line contains a U+003A COLON character (:)"
    elif ":" in line:
        # "Collect the characters on the line before the first U+003A COLON character
        # (:), and let field be that string."
        field = line[: line.index(":")]
        # "Collect the characters on the line after the first U+003A COLON character
        # (:), and let value be that string. If value starts with a U+0020 SPACE
        # character, remove it from value."
        value = line[line.index(":") + 1 :]
        if value != "" and value[0] == "\u0020":
            value = value[1:]
        process_field(source, field, value)
    # "Otherwise, the string is not empty but does not contain a U+003A COLON character:
    # Process the field using the whole line as the field name, and the empty string as
    # the field value."
    else:
        process_field(source, line, "")


def process_field(source: EventSource, field: str, value: str) -> None:
    # "If the field name is "event": Set the event type buffer to the field value."
    if field == "event":
        source.event_type_buffer = value
    # "If the field name is "data": Append the field value to the data buffer, then
    # append a single U+000A LINE FEED (LF) character to the data buffer."
    elif field == "data":
        source.data_buffer += value
        source.data_buffer += "\u000a"
    # "If the field name is "id": If the field value does not contain U+0000 NULL, then
    # set the last event ID buffer to the field value. Otherwise, ignore the field."
    elif field == "id":
        if "\u0000" not in value:
            source.last_event_id_buffer = value
    # "If the field name is "retry": If the field value consists of only ASCII digits,
    # then interpret the field value as an integer in base ten, and set the event
    # stream's reconnection time to that integer. Otherwise, ignore the field."
    elif field == "retry" and only_ascii_digits(value):
        source.reconnection_time = in_base_ten(value)
    # "Otherwise: The field is ignored."


def only_ascii_digits(value: str) -> bool:
    return value != "" and all(character in "0123456789" for character in value)


def in_base_ten(value: str) -> int:
    number = 0
    for character in value:
        number = 10 * number + "0123456789".index(character)
    return number


def dispatch(source: EventSource) -> None:
    # 1. "Set the last event ID string of the event source to the value of the last
    # event ID buffer. The buffer does not get reset."
    source.last_event_id_string = source.last_event_id_buffer
    # 2. "If the data buffer is an empty string, set the data buffer and the event type
    # buffer to the empty string and return."
    if source.data_buffer == "":
        source.data_buffer = ""
        source.event_type_buffer = ""
        return
    # 3. "If the data buffer's last character is a U+000A LINE FEED (LF) character, then
    # remove the last character from the data buffer."
    if source.data_buffer[-1] == "\u000a":
        source.data_buffer = source.data_buffer[:-1]
    # 4., 5. "Let event be the result of creating an event [...] Initialize event's type
    # attribute to "message", its data attribute to data, [...] and its lastEventId
    # attribute to the last event ID string of the event source."
    kind = "message"
    # 6. "If the event type buffer has a value other than the empty string, change the
    # type of the newly created event to equal the value of the event type buffer."
    if source.event_type_buffer != "":
        kind = source.event_type_buffer
    event = Dispatched(kind, source.data_buffer, source.last_event_id_string)
    # 7. "Set the data buffer and the event type buffer to the empty string."
    source.data_buffer = ""
    source.event_type_buffer = ""
    # 8. "Queue a task which [...] dispatches the newly created event"
    source.dispatched.append(event)


def utf8_decode(stream: bytes) -> str:
    """Remove one byte order mark, then decode."""
    if stream[:3] == b"\xef\xbb\xbf":
        stream = stream[3:]
    return utf8_decode_without_bom(stream)


def utf8_decode_without_bom(stream: bytes) -> str:
    """Run the UTF-8 decoder of WHATWG Encoding with error mode "replacement"."""
    output = ""
    code_point = bytes_seen = bytes_needed = 0
    lower_boundary, upper_boundary = 0x80, 0xBF
    queue = list(stream)
    while queue:
        byte = queue.pop(0)
        if bytes_needed == 0:
            if byte <= 0x7F:
                output += chr(byte)
            elif 0xC2 <= byte <= 0xDF:
                bytes_needed = 1
                code_point = byte & 0x1F
            elif 0xE0 <= byte <= 0xEF:
                if byte == 0xE0:
                    lower_boundary = 0xA0
                if byte == 0xED:
                    upper_boundary = 0x9F
                bytes_needed = 2
                code_point = byte & 0xF
            elif 0xF0 <= byte <= 0xF4:
                if byte == 0xF0:
                    lower_boundary = 0x90
                if byte == 0xF4:
                    upper_boundary = 0x8F
                bytes_needed = 3
                code_point = byte & 0x7
            else:
                output += "\ufffd"
            continue
        if not lower_boundary <= byte <= upper_boundary:
            code_point = bytes_needed = bytes_seen = 0
            lower_boundary, upper_boundary = 0x80, 0xBF
            queue.insert(0, byte)  # "Restore byte to ioQueue."
            output += "\ufffd"
            continue
        lower_boundary, upper_boundary = 0x80, 0xBF
        code_point = (code_point << 6) | (byte & 0x3F)
        bytes_seen += 1
        if bytes_seen == bytes_needed:
            output += chr(code_point)
            code_point = bytes_needed = bytes_seen = 0
    if bytes_needed != 0:
        output += "\ufffd"
    return output
