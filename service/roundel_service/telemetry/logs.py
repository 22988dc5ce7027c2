"""What the service writes: a line of JSON for each thing that happened.

Secrets have no business in a log line, and no line here is given one. The redaction
is the last line of defence for the day on which somebody does, or an error's own
words do.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from contextlib import suppress
from typing import Any, TextIO, final

import attrs
import msgspec
import structlog
from structlog.contextvars import get_contextvars
from structlog.typing import EventDict, Processor, WrappedLogger

from .redaction import redact, redacted

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
    ]
    sink = _Sink(stream)
    structlog.configure(
        processors=[*first, *last, Renderer(sink, level)],
        wrapper_class=structlog.make_filtering_bound_logger(level),
        logger_factory=lambda *_: sink,
    )
    formatter = structlog.stdlib.ProcessorFormatter(
        foreign_pre_chain=[*first, structlog.stdlib.add_logger_name],
        processors=[
            structlog.stdlib.ProcessorFormatter.remove_processors_meta,
            *last,
            _render,
        ],
    )
    handler = logging.StreamHandler(stream)
    handler.setFormatter(formatter)
    logging.root.handlers = [handler]
    logging.root.setLevel(level)


def _json(event: EventDict, *, default: Callable[[Any], Any]) -> str:
    return msgspec.json.encode(event, enc_hook=default).decode()


_render = structlog.processors.JSONRenderer(_json)


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


@final
@attrs.define
class Renderer:
    """The last step of a line; it knows where lines go, and from which *level* on."""

    sink: _Sink
    level: int
    _around: str | None = None

    def around(self) -> str:
        """Say what is bound around every request, which is the process's own."""
        if self._around is None:
            bound = get_contextvars().items()
            told = {n: redacted(n, v) for n, v in bound if n != "request_id"}
            self._around = f",{_json(told, default=repr)[1:-1]}" if told else ""
        return self._around

    def __call__(self, logger: WrappedLogger, name: str, event: EventDict) -> str:
        line = _render(logger, name, event)
        assert isinstance(line, str)
        return line


def stream_line(
    *,
    user: str,
    level: str,
    reason: str,
    seconds: float,
    events_sent: int,
    versions_skipped: int,
    request_id: str,
) -> None:
    """Log a stream that has ended; *skipped* is the versions that it was not told."""
    _log.info(
        "stream ended",
        user=user,
        # A line's `level` is how bad it is.
        stream_level=level,
        reason=reason,
        duration_s=round(seconds, 3),
        events_sent=events_sent,
        versions_skipped=versions_skipped,
        request_id=request_id,
    )
