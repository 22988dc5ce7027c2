"""What an adapter must know of HTTP: the head to answer with, the id to read."""

from __future__ import annotations

MEDIA_TYPE = "text/event-stream"


def stream_headers(http_version: str = "1.1") -> list[tuple[str, str]]:
    """Return the head of an event stream's response, for this version of HTTP.

    The stream is not to be stored, nor compressed or buffered on the way
    (``X-Accel-Buffering`` is nginx's word for it). ``Connection`` appears only where
    it is needed, with HTTP/1.0: HTTP/2 forbids it.
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

    *header* is the field ``Last-Event-ID``, as bytes or as the latin-1 text that
    servers make of them; it wins over *query*, a parameter for clients that can set
    no header, since that one is stale after the first reconnection. Both are
    untrusted input. Field values are UTF-8 (WHATWG HTML 9.2.3); bytes that are not
    are replaced.
    """
    if header:
        raw = header.encode("latin-1", "replace") if isinstance(header, str) else header
        return raw.decode("utf-8", "replace")
    if isinstance(query, bytes):
        return query.decode("utf-8", "replace")
    return query or ""


def accepts_stream(accept: str | None) -> bool:
    """Tell whether an ``Accept`` field lets the answer be an event stream.

    No field accepts everything; a range with ``q=0`` excludes what it names, and
    the most specific range counts (RFC 9110 12.5.1).
    """
    if not accept or not accept.strip():
        return True
    quality = {}
    for part in accept.split(","):
        name, *parameters = [piece.strip().lower() for piece in part.split(";")]
        quality[name] = not any(_is_zero(parameter) for parameter in parameters)
    ranges = (MEDIA_TYPE, "text/*", "*/*")
    return next((quality[name] for name in ranges if name in quality), False)


def _is_zero(parameter: str) -> bool:
    name, _, value = parameter.partition("=")
    return name.strip() == "q" and value.strip().rstrip("0") in ("", ".", "0.")
