"""The HTTP headers of an event stream: those to send and those to read."""

from __future__ import annotations

import re
from collections.abc import Iterable
from datetime import datetime

MEDIA_TYPE = "text/event-stream"

# The most specific first.
_RANGES = (MEDIA_TYPE, "text/*", "*/*")

_MONTHS = " jan feb mar apr may jun jul aug sep oct nov dec"

# RFC 9110 5.6.7: the preferred form and that of RFC 850, whose year has two digits.
_match_date = re.compile(
    r"[a-z]+, ([ \d]\d)[ -]([a-z]{3})[ -](\d{4}|\d\d) (\d\d):(\d\d):(\d\d) gmt",
    re.ASCII | re.IGNORECASE,
).fullmatch

# The form of asctime(), which recipients have to read too.
_ASCTIME = re.compile(
    r"([a-z]{3}) ([a-z]{3}) ([ \d]\d) ([\d:]{8}) (\d{4})", re.ASCII | re.IGNORECASE
)


def stream_headers(http_version: str = "1.1") -> list[tuple[str, str]]:
    """Return the headers of an event stream's response.

    They forbid storing, compressing and buffering (``X-Accel-Buffering`` is nginx's
    header). ``Connection: close`` is only for HTTP/1.0, since HTTP/2 forbids it.
    """
    headers = [
        ("Content-Type", f"{MEDIA_TYPE}; charset=utf-8"),
        ("Cache-Control", "no-store, no-transform"),
        ("X-Accel-Buffering", "no"),
    ]
    if http_version == "1.0":
        headers.append(("Connection", "close"))
    return headers


def read_last_event_id(
    header: str | bytes | None, query: str | bytes | None = None
) -> str:
    """Return the last event id that a request presents, ``""`` if there is none.

    *header* is the ``Last-Event-ID`` field, as bytes or decoded as latin-1. *query* is
    a parameter for clients that cannot set a header; the header takes precedence,
    since the parameter is outdated after the first reconnection. Both are untrusted.
    They are UTF-8 (WHATWG HTML 9.2.3); invalid bytes are replaced.
    """
    if header:
        raw = header.encode("latin-1", "replace") if isinstance(header, str) else header
        return raw.decode("utf-8", "replace")
    if isinstance(query, bytes):
        return query.decode("utf-8", "replace")
    return query or ""


def accepts_stream(accept: str | None) -> bool:
    """Return whether an ``Accept`` header allows an event stream.

    A missing header accepts everything. A range with ``q=0`` excludes its types, and
    the most specific range counts (RFC 9110 12.5.1).
    """
    if not accept or not accept.strip():
        return True
    quality: dict[str, bool] = {}
    for part in accept.lower().split(","):
        name, _, parameters = part.partition(";")
        name = name.strip()
        # The client sizes the list: most ranges of a long one are skipped cheaply.
        if name in _RANGES:
            quality[name] = not any(map(_is_zero, parameters.split(";")))
    return next((quality[name] for name in _RANGES if name in quality), False)


def retry_after(headers: Iterable[tuple[str, str]]) -> float:
    """Return the seconds of ``Retry-After``, 0 if there is none that can be read.

    A date counts from the response's own ``Date``: the clocks may differ.
    """
    fields = {name.lower(): value.strip() for name, value in headers}
    value = fields.get("retry-after", "")
    if value.isascii() and value.isdigit():
        # Longer ones exceed any bound, and Python refuses thousands of digits.
        return float(value[:16])
    try:
        start, end = _parse_date(fields.get("date", "")), _parse_date(value)
    except ValueError:
        return 0.0
    return max((end - start).total_seconds(), 0.0)


def _parse_date(text: str) -> datetime:
    # The standard library's parser imports sockets.
    found = _match_date(_ASCTIME.sub(r"\1, \3 \2 \5 \4 GMT", text))
    if found is None:
        raise ValueError("expected an HTTP date")
    day, month, year, hour, minute, second = found.groups()
    # POSIX: two digits from 69 on are of the last century.
    century = 0 if len(year) == 4 else 1900 if int(year) >= 69 else 2000
    number = _MONTHS.index(f" {month.lower()}") // 4 + 1
    date = datetime(century + int(year), number, int(day))
    return date.replace(hour=int(hour), minute=int(minute), second=int(second))


def _is_zero(parameter: str) -> bool:
    name, _, value = parameter.partition("=")
    return name.strip() == "q" and value.strip().rstrip("0") in ("", ".", "0.")
