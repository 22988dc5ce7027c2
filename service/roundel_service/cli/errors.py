"""How a command reports an error: in lines on stderr, without a traceback."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import NoReturn, final

import click

from ..settings import ConfigError


@final
class CommandError(Exception):
    """A command failed, for the reason in *lines*."""

    def __init__(self, *lines: str) -> None:
        self.lines = lines
        super().__init__("\n".join(lines))


@contextmanager
def explain_errors() -> Iterator[None]:
    """Report an error of the settings, the system or the service in lines on stderr.

    Exit status: 2 for invalid settings, 130 for Ctrl-C, otherwise 1. A mistake of
    this program keeps its traceback.
    """
    try:
        yield
    except (click.ClickException, click.exceptions.Exit):
        raise
    except (Exception, KeyboardInterrupt) as error:
        _report(_only_exception(error))
        raise


def _report(error: BaseException) -> None:
    """Exit with the message of *error*, if it has one for users."""
    match error:
        case KeyboardInterrupt():
            raise error  # Without the group of a nursery.
        case BrokenPipeError():
            raise error  # The reader of the output has left: click exits quietly.
        case ConfigError():
            fail(2, *error.lines)
        case CommandError():
            fail(1, *error.lines)
        case OSError():
            fail(1, str(error) or repr(error))


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
