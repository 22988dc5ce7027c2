"""What the service writes: a line of JSON for each thing that happened.

Secrets have no business in a log line, and no line here is given one. The redaction
is the last line of defence for the day on which somebody does, or an error's own
words do. It goes by the names of fields, and by what secrets look like in a text.
"""

from __future__ import annotations

import logging
import re
import secrets
from collections.abc import Callable
from contextlib import suppress
from functools import lru_cache
from typing import Any, TextIO, final

import attrs
import msgspec
import structlog
from structlog.typing import EventDict, Processor, WrappedLogger

REDACTED = "[redacted]"

_NAME = re.compile(
    r"authorization|cookie|token|ticket|secret|passw|credential|jwt|proof"
    r"|api[_-]?key|(?<![a-z])keys?(?![a-z])",
    re.IGNORECASE,
)
_CAMEL_KEY = re.compile(r"[a-z]Keys?(?![a-z])")

# Each of them takes time in proportion to the text, whoever wrote it.
_TEXT = re.compile(
    r"""
      (?:(?<![\w-])|(?<=%[0-9a-f]{2})) (?-i:eyJ)[\w-]{8,}\.[\w.-]+  # RFC 7519: a JWT
    | (?P<scheme> \bbearer (?:\s|%20|\+)+ ) [^\s"',;&]+             # RFC 6750
    | (?P<name> (?:ticket|token|secret|password)["']? \s* (?:[=:]|%3D) \s* ["']? )
      [^\s"',;&\#]+
    | (?P<userinfo> ://[^\s"'/@:]*: ) [^\s"'/@]+ (?=@)              # RFC 3986 3.2.1
    """,
    re.IGNORECASE | re.VERBOSE,
)
# Without one of these none of them matches, and to see that is much quicker.
_SIGN = re.compile(r"[\s+%=:]")
_REQUEST_ID = re.compile(r"[A-Za-z0-9._-]{1,64}")

_MAX_METHOD = 16
_MAX_PATH = 512

_log: structlog.typing.FilteringBoundLogger = structlog.get_logger(__name__)


def configure(stream: TextIO, *, level: int = logging.INFO) -> None:
    """Write what anybody logs to *stream*, each as a line of JSON.

    Call it once, before any application is made: Quart gives its own handler, with a
    thread, to a logger that has none. It takes the place of the handlers of the root
    logger, so that Hypercorn's lines and those of the adapters look the same.
    """
    first: list[Processor] = [
        structlog.contextvars.merge_contextvars,
        structlog.stdlib.add_log_level,
    ]
    last: list[Processor] = [
        structlog.processors.format_exc_info,
        redact,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
        structlog.processors.JSONRenderer(_json),
    ]
    sink = _Sink(stream)
    structlog.configure(
        processors=[*first, *last],
        wrapper_class=structlog.make_filtering_bound_logger(level),
        logger_factory=lambda *_: sink,
    )
    formatter = structlog.stdlib.ProcessorFormatter(
        foreign_pre_chain=[*first, structlog.stdlib.add_logger_name],
        processors=[structlog.stdlib.ProcessorFormatter.remove_processors_meta, *last],
    )
    handler = logging.StreamHandler(stream)
    handler.setFormatter(formatter)
    logging.root.handlers = [handler]
    logging.root.setLevel(level)


def _json(event: EventDict, *, default: Callable[[Any], Any]) -> str:
    return msgspec.json.encode(event, enc_hook=default).decode()


@final
@attrs.frozen
class _Sink:
    """Where finished lines go; past `logging`, which takes as long as all the rest."""

    stream: TextIO

    def write(self, line: str) -> None:
        # Nobody reads the pipe any more: that must not fail a request, and there is
        # nowhere left to tell it.
        with suppress(OSError, ValueError):
            self.stream.write(f"{line}\n")
            self.stream.flush()

    debug = info = warning = error = critical = write


def redact(_logger: WrappedLogger, _method: str, event_dict: EventDict) -> EventDict:
    """Take away the values of fields named like secrets, and text that looks so."""
    return {name: _field(name, value) for name, value in event_dict.items()}


def _field(name: str, value: object) -> object:
    if value is None or isinstance(value, bool):
        return value
    return REDACTED if _is_secret(name) else _cleaned(value)


@lru_cache(maxsize=1_024)
def _is_secret(name: str) -> bool:
    return bool(_NAME.search(name) or _CAMEL_KEY.search(name))


def _cleaned(value: object) -> object:
    match value:
        case None | bool() | int() | float():
            return value
        case dict():
            pairs = ((str(name), part) for name, part in value.items())
            return {_text(name): _field(name, part) for name, part in pairs}
        case list() | tuple():
            return [_cleaned(part) for part in value]
        case str():
            return _text(value)
        case _:
            # What the renderer would make of it, only cleaned.
            return _text(repr(value))


def _text(text: str) -> str:
    if "eyJ" not in text and _SIGN.search(text) is None:
        return text
    return _TEXT.sub(_redacted, text)


def _redacted(match: re.Match[str]) -> str:
    return "".join(part for part in match.groups() if part) + REDACTED


def request_id(presented: str | None) -> str:
    """Return the id of a request: the *presented* X-Request-Id, if it is well-formed.

    That is 1 to 64 characters of ``A-Z a-z 0-9 . _ -``; otherwise it is a new one.
    """
    if presented is not None and _REQUEST_ID.fullmatch(presented):
        return presented
    return secrets.token_hex(8)


def request_line(
    *,
    method: str,
    path: str,
    status: int,
    seconds: float,
    request_id: str,
    problem: str | None = None,
) -> None:
    """Log a request that was answered, and the name of its *problem* if it had one."""
    fields: dict[str, Any] = {
        "method": method[:_MAX_METHOD],
        # A query may hold a ticket; the path has no secrets in it.
        "path": path.partition("?")[0][:_MAX_PATH],
        "status": status,
        "ms": round(seconds * 1_000, 3),
        "request_id": request_id,
    }
    if problem is not None:
        fields["problem"] = problem
    write = _log.error if status >= 500 else _log.info
    write("request", **fields)


def stream_line(
    *,
    user: str,
    level: str,
    why: str,
    seconds: float,
    frames: int,
    skipped: int,
    request_id: str,
) -> None:
    """Log a stream that has ended; *skipped* is the versions that it was not told."""
    _log.info(
        "stream ended",
        user=user,
        # A line's `level` is how bad it is.
        stream_level=level,
        why=why,
        seconds=round(seconds, 3),
        frames=frames,
        skipped=skipped,
        request_id=request_id,
    )
