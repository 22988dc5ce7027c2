"""The reference of the command line."""

from __future__ import annotations

from pathlib import Path

from click.testing import CliRunner

from roundel_service.cli.main import COMMANDS, main

PAGE = Path(__file__).parents[3] / "docs" / "reference" / "command-line.md"


def expected() -> str:
    """Return the sections of the page: the help of each command."""
    sections = []
    for name in COMMANDS.keys() - {"worker"}:
        arguments = [name, "--help"]
        result = CliRunner().invoke(main, arguments, prog_name="roundel")
        sections.append((name, result.stdout.rstrip()))
    ordered = sorted(sections, key=lambda pair: [*COMMANDS].index(pair[0]))
    blocks = [f"## {name}\n\n```text\n{text}\n```\n" for name, text in ordered]
    return "\n".join(blocks)


def test_page_has_the_help_of_each_command():
    """The page is right when this text follows its introduction."""
    _, first, sections = PAGE.read_text().partition("\n## ")

    assert expected() == (first + sections).lstrip()
