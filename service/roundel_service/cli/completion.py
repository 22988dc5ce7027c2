"""The command that prints a shell's completion script."""

from __future__ import annotations

import click
from click.shell_completion import get_completion_class


@click.command()
@click.argument("shell", type=click.Choice(["bash", "zsh", "fish"]))
@click.pass_context
def completion(context: click.Context, shell: str) -> None:
    """Print a script that completes commands and options in SHELL.

    \b
    bash: echo 'eval "$(roundel completion bash)"' >> ~/.bashrc
    zsh:  echo 'eval "$(roundel completion zsh)"' >> ~/.zshrc
    fish: roundel completion fish > ~/.config/fish/completions/roundel.fish
    """
    script = get_completion_class(shell)
    assert script is not None
    command = context.find_root().command
    click.echo(script(command, {}, "roundel", "_ROUNDEL_COMPLETE").source())
