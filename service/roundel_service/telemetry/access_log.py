"""The line of a request: what there is most of in a log, by a way of its own.

It says to the letter what `structlog` would make of it, in a fourth of the time.
"""

from __future__ import annotations

import logging
import re
import time
from contextvars import ContextVar
from datetime import UTC, datetime
from functools import lru_cache
from random import getrandbits
from typing import Any

import msgspec
import structlog
from structlog.contextvars import bind_contextvars, reset_contextvars

from .logs import Renderer
from .redaction import cleaned

_REQUEST_ID = re.compile(r"[A-Za-z0-9._-]{1,64}")

_MAX_METHOD = 16
_MAX_PATH = 512

_log: structlog.typing.FilteringBoundLogger = structlog.get_logger(__name__)


def _variable(name: str) -> ContextVar[str]:
    """Return what `bind_contextvars()` sets, which takes eight times as long to."""
    tokens = bind_contextvars(**{name: ""})
    reset_contextvars(**tokens)
    return tokens[name].var


bound_request_id = _variable("request_id")
"""What every line of a task tells as its `request_id`."""


def request_id(presented: str | None) -> str:
    """Return the id of a request: the *presented* X-Request-Id, if it is well-formed.

    That is 1 to 64 characters of ``A-Z a-z 0-9 . _ -``; otherwise it is a new one.
    """
    if presented is not None and _REQUEST_ID.fullmatch(presented):
        return presented
    # It has to be another one each time, and nothing is opened by knowing it.
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
    """Log a request that was answered, and the name of its *problem* if it had one."""
    level = logging.ERROR if status >= 500 else logging.INFO
    last = structlog.get_config()["processors"][-1]
    if isinstance(last, Renderer) and level < last.level:
        return
    # A query may hold a ticket; the path has no secrets in it.
    path = path.partition("?")[0]
    ms = round(seconds * 1_000, 3)
    if isinstance(last, Renderer):
        said = f'"status":{status},"duration_ms":{ms},"request_id":{_text(request_id)}'
        if problem is not None:
            said += f',"problem":{_text(problem)}'
        _write(last, level, f"{{{_asked(method, path)},{said}")
        return
    fields: dict[str, Any] = {
        **_method_and_path(method, path),
        "status": status,
        "duration_ms": ms,
        "request_id": cleaned(request_id),
    }
    if problem is not None:
        fields["problem"] = problem
    _log.log(level, "request", **fields)


def _method_and_path(method: str, path: str) -> dict[str, str]:
    return {"method": cleaned(method[:_MAX_METHOD]), "path": cleaned(path[:_MAX_PATH])}


def _text(value: str) -> str:
    return msgspec.json.encode(cleaned(value)).decode()


@lru_cache(maxsize=256)
def _asked(method: str, path: str) -> str:
    """Say what was asked for; most ask for the same."""
    return msgspec.json.encode(_method_and_path(method, path))[1:-1].decode()


def _write(renderer: Renderer, level: int, said: str) -> None:
    """Write the line of a request as all the steps would, in a tenth of the time."""
    word = "error" if level == logging.ERROR else "info"
    renderer.sink.write(
        f'{said},"event":"request"{renderer.around()},"level":"{word}",'
        f'"timestamp":"{_now()}"}}'
    )


_seconds: dict[int, str] = {}


def _now() -> str:
    """Return the time in ISO 8601; what of it is whole seconds is made once in each."""
    second, rest = divmod(time.time_ns(), 1_000_000_000)
    if second not in _seconds:
        _seconds.clear()
        _seconds[second] = datetime.fromtimestamp(second, UTC).isoformat()[:-6]
    return f"{_seconds[second]}.{rest // 1_000:06d}Z"
