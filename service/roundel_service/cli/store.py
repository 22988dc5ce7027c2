"""Commands that inspect or copy the store of an engine."""

from __future__ import annotations

import functools
import os
import sys
from pathlib import Path

import click
import trio

from ..engines.sqlite.backup import back_up
from ..engines.sqlite.default_path import default_path
from ..operator.doctor import examine
from ..settings import ConfigError, load_some
from .options import config_option, engine_option, given


@click.command()
@click.argument("destination", type=click.Path(path_type=Path))
@engine_option
@config_option
def backup(destination: Path, engine: str | None, file: Path | None) -> None:
    """Copy the SQLite file of the engine to DESTINATION, even while it is in use.

    When the command ends, the copy has been checked and is on disk. To restore it,
    stop the service, replace the file with the copy, and start the service. Every
    client then receives a reset.
    """
    flags = given({"engine": engine})
    url = load_some(("engine",), os.environ, file, flags)["engine"]
    scheme, _, path = url.partition(":")
    if scheme != "sqlite":
        raise ConfigError(
            f"ROUNDEL_ENGINE: expected sqlite:PATH, since {scheme} has no file"
        )
    source = Path(path) if path else default_path()
    back_up(source, destination)
    click.echo(f"copied {source} to {destination}")


@click.command()
@engine_option
@config_option
def doctor(engine: str | None, file: Path | None) -> None:
    """Check the engine: its state, what it stores, and what it could lose.

    The command changes nothing, and the engine may be in use. Each line is ok, a
    warning or a failure, with advice.

    Exit status: 0, or 1 after a failure.
    """
    names = ("engine", "durability")
    settings = load_some(names, os.environ, file, given({"engine": engine}))
    check = functools.partial(examine, durability=settings["durability"])
    findings = trio.run(check, settings["engine"])
    for finding in findings:
        click.echo(finding)
    if any(finding.level == "failure" for finding in findings):
        sys.exit(1)
