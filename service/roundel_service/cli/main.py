"""The command `roundel`."""

from __future__ import annotations

import click

from . import serve, tools


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(package_name="roundel")
def main() -> None:
    """Keep every user's notification badge correct and live, over plain SSE.

    \b
    Try it:   roundel demo
    Run it:   roundel serve
    Use it:   roundel notify alice "Bob mentioned you"
              roundel watch alice

    The service needs two secrets, in the environment or in a file:
    ROUNDEL_PRODUCER_KEYS authenticates backends, and ROUNDEL_JWT_SECRET signs the
    tokens of users. Commands that call a running service need the same secrets.

    An unknown or invalid setting stops the command with a message that names it.
    """


for command in (
    *(serve.serve, serve.worker, serve.demo),
    *(tools.backup, tools.doctor, tools.token, tools.notify, tools.watch),
):
    main.add_command(command)
