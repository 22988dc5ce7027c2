"""The access log: one line per request.

Most lines of the log are these, so they are formatted here without the processors of
structlog: 2.9 us a line instead of 11 us. A test compares both texts.
"""

from __future__ import annotations

import logging
import re
import time
from datetime import UTC, datetime
from random import getrandbits
from typing import Any

import structlog

from .logs import Renderer, has_reader, render_json
from .redaction import redact_text

_REQUEST_ID = re.compile(r"[A-Za-z0-9._-]{1,64}")

_MAX_METHOD = 16
_MAX_PATH = 512

_log: structlog.typing.FilteringBoundLogger = structlog.get_logger(__name__)


def request_id(presented: str | None) -> str:
    """Return *presented*, the value of X-Request-Id, if it is well-formed, or a new id.

    An id has 1 to 64 characters of ``A-Z a-z 0-9 . _ -``.
    """
    if presented is not None and _REQUEST_ID.fullmatch(presented):
        return presented
    # Ids must differ, but they are not secret.
    return f"{getrandbits(64):016x}"


def request_line(
    *,
    method: str,
    path: str,
    status: int,
    seconds: float,
    request_id: str,
    problem: str | None = None,
) -> None:
    """Log a request with the status of its response, and the name of its *problem*.

    The query is left out, since it may contain a ticket.
    """
    level = logging.ERROR if status >= 500 else logging.INFO
    renderer = structlog.get_config()["processors"][-1]
    if isinstance(renderer, Renderer):
        if level < renderer.level:
            return
    elif not has_reader():
        return
    fields: dict[str, Any] = {
        "method": redact_text(method[:_MAX_METHOD]),
        "path": redact_text(path.partition("?")[0][:_MAX_PATH]),
        "status": status,
        "duration_ms": round(seconds * 1_000, 3),
        "request_id": redact_text(request_id),
    }
    if problem is not None:
        fields["problem"] = problem
    if isinstance(renderer, Renderer):
        _write(renderer, level, fields)
    else:
        _log.log(level, "request", **fields)


def _write(renderer: Renderer, level: int, fields: dict[str, Any]) -> None:
    level_name = "error" if level == logging.ERROR else "info"
    text = render_json(fields)
    renderer.sink.write(
        f'{text[:-1]},"event":"request"{renderer.context()},"level":"{level_name}",'
        f'"timestamp":"{_now()}"}}'
    )


_seconds: dict[int, str] = {}


def _now() -> str:
    """Return the time in ISO 8601; each second is formatted once."""
    second, rest = divmod(time.time_ns(), 1_000_000_000)
    if second not in _seconds:
        _seconds.clear()
        _seconds[second] = datetime.fromtimestamp(second, UTC).isoformat()[:-6]
    return f"{_seconds[second]}.{rest // 1_000:06d}Z"
