"""Where settings come from: flags, environment variables and a TOML file.

A source has values by setting name, in lower case and without `PREFIX`. Names are
strict, with one exception: an environment has variables for other programs. In
Kubernetes each pod gets `ROUNDEL_PORT=tcp://…` and more if a Service of its namespace
is named `roundel`. So an unknown variable is refused only if it resembles a known one.
"""

from __future__ import annotations

import re
import tomllib
from collections.abc import Collection, Iterable, Mapping
from pathlib import Path
from typing import final

import attrs

PREFIX = "ROUNDEL_"
"""Prefix of the environment variables."""

OTHER_VARIABLES = {"ROUNDEL_URL"}
"""Variables of commands that call a service: they are no settings of it."""

MAX_EDITS = 2
"""Maximum number of edits between a misspelt name and the known one."""

MAX_SECRET_FILE = 64 * 1024
"""Maximum size of a file with a secret, in bytes."""

# https://kubernetes.io/docs/concepts/services-networking/service/#environment-variables
# The Service can also have a longer name, such as roundel-ops.
_FROM_KUBERNETES = re.compile(
    PREFIX + r"(?:[A-Z0-9_]+_)?"
    r"(?:SERVICE_HOST|SERVICE_PORT(?:_[A-Z0-9_]+)?"
    r"|PORT|PORT_\d+_(?:TCP|UDP|SCTP)(?:_PROTO|_PORT|_ADDR)?)"
)


@final
class ConfigError(Exception):
    """Invalid settings; *lines* has one message for each."""

    def __init__(self, *lines: str) -> None:
        self.lines = lines
        super().__init__("\n".join(lines))


@final
@attrs.frozen
class SettingsSource:
    """Values by setting name, and their *origin* for messages."""

    origin: str
    values: Mapping[str, object]

    def unknown(self, known: Collection[str]) -> list[str]:
        """Return a message for each name that is not *known*."""
        return [
            f"{_shown(name)} ({self.origin}): unknown setting, {_advice(name, known)}"
            for name in self.values
            if name not in known
        ]


def variable(name: str) -> str:
    """Return the environment variable of the setting *name*."""
    return PREFIX + name.upper()


def _shown(name: str) -> str:
    return variable(name) if name.islower() else name


def _advice(name: str, known: Collection[str]) -> str:
    if name.lower() in known:
        return f"expected {name.lower()}"
    variables = sorted(map(variable, known))
    if closest := _closest(_shown(name), {*variables, *OTHER_VARIABLES}):
        return f"did you mean {closest}?"
    return f"expected one of {', '.join(variables)}"


def read_environment(
    environment: Mapping[str, str], known: Collection[str], *, may_be_empty: str
) -> SettingsSource:
    """Return the settings in the *environment*.

    An empty variable is unset, except for the setting *may_be_empty*. A variable that
    resembles a *known* one keeps its full name, which is no name of a setting.
    """
    names = {variable(name): name for name in known}
    ignored = {*ignored_variables(environment, known), *OTHER_VARIABLES}
    values = {
        names.get(each, each): value
        for each, value in environment.items()
        if each.startswith(PREFIX) and each not in ignored
        if without_line_end(value) or each == variable(may_be_empty)
    }
    return SettingsSource("environment", values)


def ignored_variables(
    environment: Mapping[str, str], known: Collection[str]
) -> list[str]:
    """Return the variables with `PREFIX` that are for other programs.

    They are from Kubernetes, or do not resemble a *known* setting.
    """
    variables = {*map(variable, known), *OTHER_VARIABLES}
    return [
        each
        for each, value in environment.items()
        if each.startswith(PREFIX) and each not in variables and value
        if _FROM_KUBERNETES.fullmatch(each) or not _closest(each, variables)
    ]


def read_toml(file: Path) -> SettingsSource:
    """Return the settings in the TOML *file*; raise `ConfigError` if it is none."""
    try:
        return SettingsSource(str(file), tomllib.loads(file.read_text("utf-8-sig")))
    except (OSError, ValueError, RecursionError) as error:
        reason = getattr(error, "strerror", None) or error
        raise ConfigError(f"{file}: expected a TOML file: {reason}") from None


def read_secret_file(path: str) -> str:
    """Return the text of a file; raise `ValueError` with the reason if it has none."""
    try:
        with open(path, "rb") as file:
            content = file.read(MAX_SECRET_FILE + 1)
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError:
        raise ValueError("expected text in UTF-8") from None
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or error
        raise ValueError(f"cannot be read: {reason}") from None
    if len(content) > MAX_SECRET_FILE:
        raise ValueError(f"expected at most {MAX_SECRET_FILE} bytes")
    if not without_line_end(text):
        raise ValueError("the file is empty")
    return text


def without_line_end(text: str) -> str:
    """Return *text* without one line end, which editors, `echo` and Windows append."""
    return text.removesuffix("\n").removesuffix("\r")


def _closest(name: str, variables: Iterable[str]) -> str | None:
    """Return the variable within `MAX_EDITS` of *name*, whatever its case."""
    distance, closest = min((_edits(name.upper(), each), each) for each in variables)
    return closest if distance <= MAX_EDITS else None


def _edits(one: str, other: str) -> int:
    """Return the Levenshtein distance, or another number above `MAX_EDITS`."""
    if abs(len(one) - len(other)) > MAX_EDITS:
        return MAX_EDITS + 1
    row = list(range(len(other) + 1))
    for i, a in enumerate(one, 1):
        diagonal, row[0] = row[0], i
        for j, b in enumerate(other, 1):
            best = min(row[j] + 1, row[j - 1] + 1, diagonal + (a != b))
            diagonal, row[j] = row[j], best
    return row[-1]
