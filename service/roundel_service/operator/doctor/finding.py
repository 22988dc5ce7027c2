"""One thing that was looked at, and how it is."""

from __future__ import annotations

from typing import Literal, TypeAlias, final

import attrs

Level: TypeAlias = Literal["ok", "warning", "failure"]


@final
@attrs.frozen
class Finding:
    """How it is with what it is *about*: `ok`, or something could be lost."""

    level: Level
    about: str
    says: str

    def __str__(self) -> str:
        return f"{self.level:<8} {self.about:<12} {self.says}"


def ok(about: str, says: str) -> Finding:
    """Say that something is as it should be."""
    return Finding("ok", about, says)


def warning(about: str, says: str) -> Finding:
    """Say what could go wrong, and what to do."""
    return Finding("warning", about, says)


def failure(about: str, says: str) -> Finding:
    """Say what does not work, or will lose what was acknowledged."""
    return Finding("failure", about, says)


def latency(what: str, seconds: float, *, slow: float, advice: str) -> Finding:
    """Say how long *what* takes, which should be less than *slow* seconds."""
    says = f"{what} takes {seconds * 1e3:.2g} ms, the median"
    if seconds < slow:
        return ok("latency", says)
    return warning("latency", f"{says}; {advice}")
