"""Log lines for people: what a terminal shows instead of JSON."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import final

import attrs
from structlog.typing import EventDict, WrappedLogger

_COLORS = {"debug": "2", "warning": "33", "error": "31", "critical": "31"}
_SHOWN = ("timestamp", "level", "event", "exception", "logger")


def has_colors(environment: Mapping[str, str]) -> bool:
    """Return whether a terminal of this *environment* shows colours (no-color.org)."""
    return not environment.get("NO_COLOR") and environment.get("TERM") != "dumb"


@final
@attrs.frozen
class TerminalRenderer:
    """The last processor: renders ``HH:MM:SSZ level event key=value …``.

    The lines of a traceback follow, indented. No value can move the cursor or imitate
    a line: text with other than printable characters is shown as JSON.
    """

    colors: bool = False

    def __call__(self, _logger: WrappedLogger, _name: str, event: EventDict) -> str:
        level = str(event.get("level", ""))
        fields = [
            f"{name}={_text(event[name])}" for name in event if name not in _SHOWN
        ]
        words = [
            self._paint("2", f"{str(event.get('timestamp', ''))[11:19]}Z"),
            self._paint(_COLORS.get(level, "32"), level.ljust(7)),
            _line(str(event.get("event", ""))),
            *fields,
        ]
        trace = str(event.get("exception", "")).splitlines()
        return "\n".join([" ".join(words), *(f"    {_line(each)}" for each in trace)])

    def _paint(self, color: str, text: str) -> str:
        return f"\x1b[{color}m{text}\x1b[0m" if self.colors else text


def _text(value: object) -> str:
    """Return *value*, in quotes unless it is one plain word."""
    if not isinstance(value, str):
        return json.dumps(value, default=repr)
    is_word = value.isprintable() and not set(value) & set(" \"'=\\")
    return value if value and is_word else json.dumps(value)


def _line(text: str) -> str:
    return text if text.isprintable() else json.dumps(text)
