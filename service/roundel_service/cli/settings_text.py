"""What each setting means: in the help of `serve`, and in the file of `init`."""

from __future__ import annotations

import textwrap
import tomllib
from collections.abc import Mapping
from importlib import resources

import attrs
import msgspec

from ..settings import PREFIX, Settings

_INDENT = 26


def meanings() -> dict[str, str]:
    """Return what each setting means, by its name."""
    return tomllib.loads((resources.files(__package__) / "settings.toml").read_text())


def help_lines() -> str:
    """Return the names of the variables, their meanings and their defaults."""
    lines: list[str] = []
    for name, meaning in meanings().items():
        default = _default(name)
        text = f"{meaning} [{default}]" if default else meaning
        variable = f"  {PREFIX}{name.upper()}"
        if len(variable) >= _INDENT:
            lines.append(variable)
            variable = ""
        lines += textwrap.wrap(
            text,
            width=76,
            initial_indent=variable.ljust(_INDENT),
            subsequent_indent=" " * _INDENT,
            break_on_hyphens=False,
        )
    return "\n".join(lines)


def settings_file(values: Mapping[str, str]) -> str:
    """Return a TOML file with *values*; each other setting is a comment."""
    lines = ["# Settings of Roundel. A variable like ROUNDEL_BIND overrides its line."]
    for name, meaning in meanings().items():
        comment = textwrap.wrap(f"{meaning}.", 86, break_on_hyphens=False)
        lines += ["", *(f"# {line}" for line in comment)]
        is_set = name in values
        value = values[name] if is_set else _default(name)
        lines.append(f"{'' if is_set else '#'}{name} = {_toml(value)}")
    return "\n".join([*lines, ""])


def _default(name: str) -> str | float:
    default = getattr(attrs.fields(Settings), name).default
    if default is None or default is attrs.NOTHING:
        return ""
    if isinstance(default, tuple):
        return ",".join(map(str, default))
    if isinstance(default, float) and default.is_integer():
        return int(default)
    return default if isinstance(default, int | float) else str(default)


def _toml(value: str | float) -> str:
    # A basic string of TOML has the escapes of JSON.
    return msgspec.json.encode(value).decode()
