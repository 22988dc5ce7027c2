"""The result of one check."""

from __future__ import annotations

from typing import Literal, TypeAlias, final

import attrs

Level: TypeAlias = Literal["ok", "warning", "failure"]


@final
@attrs.frozen
class Finding:
    """The result of a check of one *subject*."""

    level: Level
    subject: str
    message: str

    def __str__(self) -> str:
        return f"{self.level:<8} {self.subject:<12} {self.message}"


def ok(subject: str, message: str) -> Finding:
    """Return a finding without a problem."""
    return Finding("ok", subject, message)


def warning(subject: str, message: str) -> Finding:
    """Return a finding about a risk; the message says how to remove it."""
    return Finding("warning", subject, message)


def failure(subject: str, message: str) -> Finding:
    """Return a finding about lost data or an engine that does not work."""
    return Finding("failure", subject, message)


def latency(action: str, seconds: float, *, slow: float, advice: str) -> Finding:
    """Return a finding about a median latency, a warning from *slow* seconds."""
    message = f"{action} takes {seconds * 1e3:.2g} ms (median)"
    if seconds < slow:
        return ok("latency", message)
    return warning("latency", f"{message}; {advice}")
