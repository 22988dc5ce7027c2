"""The command `roundel`."""

from __future__ import annotations

from importlib import import_module
from typing import Any, final

import click

COMMANDS = {
    "init": "init",
    "serve": "serve",
    "worker": "serve",
    "demo": "serve",
    "notify": "client",
    "watch": "client",
    "token": "client",
    "backup": "store",
    "doctor": "store",
    "completion": "completion",
}
"""The module of each command."""


@final
class Commands(click.Group):
    """Imports a command when it is used: all of them take 0.4 s of processor time."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name in COMMANDS:
            return _load(cmd_name)
        # For the suggestion in the error message.
        self.commands.update({name: _load(name) for name in COMMANDS})
        return None

    def invoke(self, ctx: click.Context) -> Any:  # noqa: ANN401, as click declares it
        try:
            from .errors import explain_errors  # With the settings, 0.1 s.

            with explain_errors():
                return super().invoke(ctx)
        except KeyboardInterrupt:  # Click would print a word, and exit with status 1.
            ctx.exit(130)


def _load(name: str) -> click.Command:
    command: click.Command = getattr(
        import_module(f".{COMMANDS[name]}", __package__), name
    )
    return command


@click.group(cls=Commands, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(package_name="roundel")
def main() -> None:
    """Keep every user's notification badge correct and live, over plain SSE.

    \b
    Try it:   roundel demo
    Run it:   roundel init
              roundel serve
    Use it:   roundel notify alice "Bob mentioned you"
              roundel watch alice

    `init` writes roundel.toml with the two secrets of the service: one of
    producer_keys authenticates a backend, and jwt_secret signs the tokens of users.
    Commands that call a running service need the same secrets.

    An unknown or invalid setting stops the command with a message that names it.
    """
