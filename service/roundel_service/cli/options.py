"""Options that several commands share, and the types of their values."""

from __future__ import annotations

import math
import os
from collections.abc import Mapping
from datetime import datetime
from pathlib import Path
from typing import Any, final
from urllib.parse import urlsplit

import click

from ..settings import DEFAULT_BIND
from ..settings_sources import without_line_end

SETTINGS_FILE = Path("roundel.toml")
"""The file that `roundel init` writes, and that commands read without `--config`."""


@final
class Seconds(click.FloatRange):
    """A finite number of seconds, within a range."""

    name = "seconds"

    def convert(
        self,
        value: Any,  # noqa: ANN401, as click declares it
        param: click.Parameter | None,
        ctx: click.Context | None,
    ) -> float:
        number = float(super().convert(value, param, ctx))
        if not math.isfinite(number):  # NaN is within each range.
            self.fail(f"{value} is not a number of seconds.", param, ctx)
        return number


def _text(value: str) -> str:
    try:
        value.encode()  # An argument that is not UTF-8 has lone surrogates.
    except UnicodeEncodeError:
        raise click.BadParameter("expected text in UTF-8") from None
    return value


TEXT = click.types.FuncParamType(_text)
TEXT.name = "text"


def parse_time(value: str) -> float:
    """Return a time in seconds since 1970, from that number or from ISO 8601.

    Raises `click.BadParameter`.
    """
    try:
        number = float(value)
    except ValueError:
        number = _from_iso(value)
    if not math.isfinite(number):
        raise click.BadParameter(f"{value} is not a time")
    return number


def _from_iso(value: str) -> float:
    try:
        # A time without an offset is one of this machine's time zone.
        return datetime.fromisoformat(value).timestamp()
    except (ValueError, OverflowError):
        expected = "2026-12-24T18:00, 2026-12-24T18:00+01:00, or seconds since 1970"
        raise click.BadParameter(f"{value!r} is not a time like {expected}") from None


TIME = click.types.FuncParamType(parse_time)
TIME.name = "time"


def _service_url(context: click.Context, parameter: click.Parameter, value: str) -> str:
    value = without_line_end(value)
    try:
        parts = urlsplit(value)
        is_valid = parts.scheme in ("http", "https") and bool(parts.hostname)
        is_valid = is_valid and parts.username is None and parts.port != 0
    except ValueError:
        is_valid = False
    # A lone surrogate is not printable either.
    is_valid = is_valid and value.isprintable() and " " not in value
    if not is_valid or parts.query or parts.fragment:
        raise click.BadParameter(f"expected a URL like http://{DEFAULT_BIND}")
    return value.rstrip("/")


def _settings_file(
    context: click.Context, parameter: click.Parameter, value: Path | None
) -> Path | None:
    if value is not None or not SETTINGS_FILE.is_file():
        return value
    # Another user could have put the file into a shared folder, such as /tmp.
    if hasattr(os, "geteuid") and SETTINGS_FILE.stat().st_uid not in {0, os.geteuid()}:
        raise click.BadParameter(
            f"{SETTINGS_FILE} belongs to another user: name it to use it"
        )
    return SETTINGS_FILE


config_option = click.option(
    "--config",
    "file",
    type=click.Path(dir_okay=False, path_type=Path),
    callback=_settings_file,
    help="A TOML file with settings, named in lower case and without ROUNDEL_; "
    f"by default {SETTINGS_FILE} in the current directory, if it exists.",
)
bind_option = click.option(
    "--bind", metavar="ADDRESS", help="HOST:PORT (0: any free port) or unix:PATH."
)
engine_option = click.option("--engine", help="URL of the engine, as for serve.")
url_option = click.option(
    "--url",
    default=f"http://{DEFAULT_BIND}",
    envvar="ROUNDEL_URL",
    callback=_service_url,
    show_default=True,
    show_envvar=True,
    help="URL of the service.",
)


def given(options: Mapping[str, Any]) -> dict[str, Any]:
    """Return the options that were set on the command line."""
    return {name: value for name, value in options.items() if value is not None}
