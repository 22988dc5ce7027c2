"""Options that several commands share, and how a command reports an error."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NoReturn

import click
import httpx2

from roundel_adapters.client import StreamEnded

from ..settings import DEFAULT_BIND, ConfigError

config_option = click.option(
    "--config",
    "file",
    type=click.Path(dir_okay=False, path_type=Path),
    help="A TOML file with settings, named in lower case and without ROUNDEL_.",
)
bind_option = click.option(
    "--bind", metavar="HOST:PORT", help="Address to listen on; port 0: any free port."
)
engine_option = click.option("--engine", help="URL of the engine, as for serve.")
url_option = click.option(
    "--url",
    default=f"http://{DEFAULT_BIND}",
    show_default=True,
    help="URL of the service.",
)


def given(options: Mapping[str, Any]) -> dict[str, Any]:
    """Return the options that were set on the command line."""
    return {name: value for name, value in options.items() if value is not None}


@contextmanager
def explain_errors() -> Iterator[None]:
    """Report an error of the settings, system or service in one line on stderr."""
    try:
        yield
    except ConfigError as error:
        fail(2, *error.lines)
    except (OSError, httpx2.HTTPError, StreamEnded) as error:
        fail(1, str(error) or repr(error))
    except BaseExceptionGroup as group:
        cause = _only_exception(group)
        if isinstance(cause, KeyboardInterrupt):
            sys.exit(130)
        if isinstance(cause, OSError):
            fail(1, str(cause) or repr(cause))
        raise


def _only_exception(error: BaseException) -> BaseException:
    # A nursery wraps even a single exception in a group.
    while isinstance(error, BaseExceptionGroup) and len(error.exceptions) == 1:
        error = error.exceptions[0]
    return error


def fail(status: int, *lines: str) -> NoReturn:
    """Print *lines* to stderr and exit with *status*."""
    for line in lines:
        click.echo(f"roundel: {line}", err=True)
    sys.exit(status)
