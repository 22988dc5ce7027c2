"""The command that writes a settings file with new secrets."""

from __future__ import annotations

import os
import secrets
import shlex
from pathlib import Path

import click

from .errors import CommandError
from .options import SETTINGS_FILE
from .settings_text import settings_file


@click.command()
@click.argument(
    "file", default=SETTINGS_FILE, type=click.Path(dir_okay=False, path_type=Path)
)
@click.option("--force", is_flag=True, help="Replace the file, and so its secrets.")
def init(file: Path, force: bool) -> None:
    """Write the settings to FILE, by default roundel.toml, with new secrets.

    The file has each setting with its meaning and its default. Only you can read it.
    Commands find it in the current directory, or by --config.
    """
    text = settings_file(
        {
            "producer_keys": secrets.token_urlsafe(24),
            "jwt_secret": secrets.token_urlsafe(32),
        }
    )
    if force:
        file.unlink(missing_ok=True)
    try:
        # Never a moment at which others can read it, and never another's file.
        descriptor = os.open(file, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    except FileExistsError:
        raise CommandError(f"{file} exists; --force replaces its secrets") from None
    with open(descriptor, "w", encoding="utf-8") as stream:
        stream.write(text)
    config = "" if file == SETTINGS_FILE else f" --config {shlex.quote(str(file))}"
    click.echo(f"wrote {file} with new secrets; next:")
    click.echo(f"  roundel serve{config}")
    click.echo(f'  roundel notify{config} alice "Bob mentioned you"')
