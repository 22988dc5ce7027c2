"""Decodes the heads of an HTTP/2 connection in small steps, whatever their size.

RFC 9113 10.5.1: a head that is too large has to be decoded as well, because the HPACK
tables of both sides must stay equal. Otherwise one large head ends the connection, and
behind a proxy the streams of other users with it.

The hpack library decodes a whole block at once, which takes 100 ms for 64 KiB of
one-byte fields. Its time for literals grows with the square of the block. So this
decoder finds the ends of the fields, and passes some fields at a time to the
library. It drops the fields of a head above the limit. A string above the limit is not
even buffered.
"""

from __future__ import annotations

from typing import TypeAlias, final

from h2.errors import ErrorCodes
from hpack import Decoder
from hpack.exceptions import HPACKError

from .http2_frames import Http2Error

FIELDS_PER_STEP = 32
"""Maximum fields that one step decodes."""

BYTES_PER_STEP = 2 * 1024
"""Size in bytes above which a step decodes no further field."""

FIELD_OVERHEAD = 32
"""Bytes that each field adds to the size of a header list (RFC 9113 6.5.2)."""

MAX_ENCODED = 16
"""Maximum size of an encoded head, as a multiple of the limit of a decoded one."""

MIN_HUGE = 16 * 1024
"""Size in bytes above which no string fits the HPACK table, even if compressed.

A Huffman code has 30 bits at most, so 16 KiB are at least 4,369 characters.
"""

TABLE_SIZE = 4 * 1024
"""Size in bytes of the HPACK table of the client."""

MAX_INTEGER_BITS = 28
"""Bits of an integer behind its prefix; the largest head needs 20."""

# The first byte of a field, RFC 7541 6.
INDEXED = 0x80
LITERAL_INDEXED = 0x40
SIZE_UPDATE = 0x20
STATIC_NAME = b"\x01"  # A literal with a name of the static table.

FieldLines: TypeAlias = list[tuple[bytes, bytes]]


def _error(message: str) -> Http2Error:
    return Http2Error(ErrorCodes.COMPRESSION_ERROR, message)


@final
class HeadDecoder:
    """Decodes one head after the other; *max_size* is the limit of a header list.

    Call `start()`, then `feed()` for each fragment, and after each fragment `step()`
    until it returns `False`. `finish()` returns the fields.
    """

    def __init__(self, max_size: int) -> None:
        # Here is the limit of a head. The limit of the library would be an error.
        self._decoder = Decoder(max_header_list_size=1 << 62)
        self._max_size = max_size
        self._max_encoded = MAX_ENCODED * max_size
        self._huge = max(max_size, MIN_HUGE)
        self.start()

    def start(self) -> None:
        """Begin a head."""
        self._data = bytearray()
        self._encoded_size = self._size = self._skipping = 0
        self._fields: FieldLines = []
        self._has_field = False
        self.decoded_size: int = 0
        """Encoded size in bytes of the fields that the last step has decoded."""

    @property
    def is_too_large(self) -> bool:
        """Whether the head so far is larger than the limit."""
        return self._size > self._max_size

    def feed(self, fragment: bytes) -> None:
        """Add a fragment of the encoded head."""
        self._encoded_size += len(fragment)
        if self._encoded_size > self._max_encoded:
            raise Http2Error(ErrorCodes.ENHANCE_YOUR_CALM, "a head without an end")
        skipped = min(self._skipping, len(fragment))
        self._skipping -= skipped
        self._data += fragment[skipped:]

    def step(self) -> bool:
        """Decode some fields; return whether another step may decode more."""
        end = self.decoded_size = 0
        for _ in range(FIELDS_PER_STEP):
            field_end = self._field_end(end)
            if field_end is None or field_end > len(self._data):
                break
            end = field_end
            if end > BYTES_PER_STEP:
                break
        if not end:
            return self._skip_huge_string()
        self._decode(end)
        return bool(self._data)

    def finish(self) -> FieldLines:
        """Return the fields at the end of the head; some if it is too large."""
        if self._data or self._skipping:
            raise _error("the head ends within a field")
        return self._fields

    def _decode(self, end: int) -> None:
        block = bytes(self._data[:end])
        self.decoded_size = end
        del self._data[:end]
        try:
            fields = self._decoder.decode(block, raw=True)
        except (HPACKError, IndexError) as error:
            raise _error(str(error)) from error
        for name, value in fields:
            self._size += len(name) + len(value) + FIELD_OVERHEAD
            if not self.is_too_large:
                self._fields.append((bytes(name), bytes(value)))

    def _field_end(self, at: int) -> int | None:
        """Return where the field at *at* ends.

        Returns `None` if the end is not yet known, or if a string is huge.
        """
        if at >= len(self._data):
            return None
        first = self._data[at]
        is_size_update = first & 0xE0 == SIZE_UPDATE
        if is_size_update and self._has_field:
            raise _error("a table size update behind a field")
        self._has_field |= not is_size_update
        if first & INDEXED or is_size_update:
            _, end = _integer(self._data, at, 7 if first & INDEXED else 5)
            return end
        strings, end = self._literal(at)
        while strings and end is not None:
            size, end = _integer(self._data, end, 7)
            if size > self._huge or end is None:
                return None
            end += size
            strings -= 1
        return end

    def _literal(self, at: int) -> tuple[int, int | None]:
        """Return how many strings a literal field has, and where they begin."""
        bits = 6 if self._data[at] & LITERAL_INDEXED else 4
        name_index, end = _integer(self._data, at, bits)
        return (1 if name_index else 2), end

    def _skip_huge_string(self) -> bool:
        """Skip the huge string of the first field; return whether there is one.

        A value behind a huge name is decoded as the value of another name.
        """
        if not self._data or self._data[0] & INDEXED:
            return False
        strings, end = self._literal(0)
        while strings and end is not None and end <= len(self._data):
            size, start = _integer(self._data, end, 7)
            if start is None:
                return False
            end = start + size
            strings -= 1
            if size > self._huge:
                self._skip(end, has_value=strings > 0)
                return True
        return False

    def _skip(self, end: int, *, has_value: bool) -> None:
        if self._data[0] & LITERAL_INDEXED:
            # RFC 7541 4.4: an entry that is larger than the table empties it.
            self._decoder.header_table.add(b"", bytes(TABLE_SIZE))
        self._size += self._max_size + 1
        self._skipping = max(0, end - len(self._data))
        del self._data[:end]
        if has_value:
            self._data[:0] = STATIC_NAME


def _integer(data: bytearray, at: int, bits: int) -> tuple[int, int | None]:
    """Return the integer at *at* and where it ends, `None` if this is not yet known."""
    if at >= len(data):
        return 0, None
    largest = (1 << bits) - 1
    number = data[at] & largest
    at += 1
    if number < largest:
        return number, at
    for shift in range(0, MAX_INTEGER_BITS, 7):
        if at >= len(data):
            return 0, None
        number += (data[at] & 0x7F) << shift
        at += 1
        if data[at - 1] < 0x80:
            return number, at
    raise _error("an integer is too long")
