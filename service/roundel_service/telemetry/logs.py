"""The log: one line of JSON per event, or a line for people on a terminal.

No caller passes a secret to the log. Redaction is the last line of defence, for a
caller that does by mistake, and for the messages of errors.
"""

from __future__ import annotations

import atexit
import json
import logging
import os
import sys
from collections.abc import Mapping
from contextlib import suppress
from typing import TextIO, final

import attrs
import msgspec
import structlog
from structlog.contextvars import get_contextvars
from structlog.typing import EventDict, Processor, WrappedLogger

from .log_writer import LogWriter
from .redaction import redact, redact_field
from .terminal_lines import TerminalRenderer, has_colors

EXIT_TIMEOUT = 1.0
"""Seconds in which the reader of the log must take the last lines of a process."""

# Some readers also split at these, which user names may contain (RFC 8259 7).
_ESCAPES = {ord(each): f"\\u{ord(each):04x}" for each in "\x85\u2028\u2029"}

_HTTP_CLIENTS = ("httpx2", "httpcore2", "httpx", "httpcore")
"""Loggers of HTTP libraries: their lines quote responses, and headers of requests."""

_writers: list[LogWriter] = []

_log: structlog.typing.FilteringBoundLogger = structlog.get_logger(__name__)


def configure_process(*, level: int) -> None:
    """Write all log lines to the standard error of this process, from *level* on.

    A thread writes them, and `dropped_lines()` counts the lines that it could not
    write. They are JSON, unless the standard error is a terminal.
    """
    # A warning of Python is a line of the log as well.
    logging.captureWarnings(True)
    stream = writer_of(sys.stderr)
    if isinstance(stream, LogWriter):
        _writers.append(stream)
    if sys.stderr is not None and sys.stderr.isatty():
        terminal = TerminalRenderer(colors=has_colors(os.environ))
        configure(stream, level=level, terminal=terminal)
    else:
        configure(stream, level=level)


def has_reader() -> bool:
    """Return whether structlog was configured, or its lines are captured.

    Otherwise it prints to the standard output. In the tests of an application that is
    the application's: a line per request would be noise.
    """
    last = structlog.get_config()["processors"][-1]
    return structlog.is_configured() or not isinstance(
        last, structlog.dev.ConsoleRenderer
    )


def writer_of(stream: TextIO | None) -> TextIO | LogWriter:
    """Return a writer to the file of *stream*, whose last lines the exit waits for.

    A standard stream may be closed, or be no file in a program that embeds this one.
    """
    if stream is None:
        return open(os.devnull, "w")
    try:
        writer = LogWriter(stream.fileno())
    except (OSError, ValueError):
        return stream
    atexit.register(writer.drain, EXIT_TIMEOUT)
    return writer


def dropped_lines() -> int:
    """Return the number of log lines that this process has dropped."""
    return sum(writer.dropped for writer in _writers)


def configure(
    stream: TextIO | LogWriter,
    *,
    level: int = logging.INFO,
    terminal: TerminalRenderer | None = None,
) -> None:
    """Write all log lines to *stream*, from *level* on, as JSON or for a *terminal*.

    Call it once, before an application is created: Quart adds a handler with a thread
    to a logger without one. The handlers of the root logger are replaced, so that lines
    of Hypercorn and of the adapters have the same form.
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
    renderer = terminal or Renderer(sink, level)
    structlog.configure(
        processors=[*first, *last, renderer],
        wrapper_class=structlog.make_filtering_bound_logger(level),
        logger_factory=lambda *_: sink,
    )
    formatter = structlog.stdlib.ProcessorFormatter(
        foreign_pre_chain=[*first, structlog.stdlib.add_logger_name],
        processors=[
            structlog.stdlib.ProcessorFormatter.remove_processors_meta,
            *last,
            renderer,
        ],
    )
    handler = logging.StreamHandler(stream)
    handler.setFormatter(formatter)
    logging.root.handlers = [handler]
    logging.root.setLevel(level)
    for name in _HTTP_CLIENTS:
        logging.getLogger(name).setLevel(max(level, logging.WARNING))


def render_json(event: Mapping[str, object]) -> str:
    """Return *event* as JSON that is one line for every reader."""
    try:
        text = msgspec.json.encode(event, enc_hook=repr).decode()
    except UnicodeEncodeError:
        # A lone surrogate, as in the name of a file that is not UTF-8 (PEP 383).
        return json.dumps(event, default=repr, separators=(",", ":"))
    return text if text.isascii() else text.translate(_ESCAPES)


@final
@attrs.frozen
class _Sink:
    """Writes finished lines; `logging` would double the time of a line."""

    stream: TextIO | LogWriter

    def write(self, line: str) -> None:
        # A closed pipe must not fail a request, and there is no other log.
        with suppress(OSError, ValueError):
            self.stream.write(f"{line}\n")
            self.stream.flush()

    debug = info = warning = error = critical = write


@final
@attrs.define
class Renderer:
    """The last processor: renders a line; also holds the *sink* and the *level*."""

    sink: _Sink
    level: int
    _context: str | None = None

    def context(self) -> str:
        """Return the fields that are bound in the whole process, such as the worker."""
        if self._context is None:
            bound = get_contextvars().items()
            fields = {n: redact_field(n, v) for n, v in bound if n != "request_id"}
            self._context = f",{render_json(fields)[1:-1]}" if fields else ""
        return self._context

    def __call__(self, _logger: WrappedLogger, _name: str, event: EventDict) -> str:
        return render_json(event)


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
    """Log the end of a stream; *versions_skipped* were replaced by a later state."""
    if not has_reader():
        return
    _log.info(
        "stream ended",
        user=user,
        # `level` is the severity of the line.
        stream_level=level,
        reason=reason,
        duration_s=round(seconds, 3),
        events_sent=events_sent,
        versions_skipped=versions_skipped,
        request_id=request_id,
    )
