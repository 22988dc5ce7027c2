"""The documents tell the truth: their examples run, their links lead somewhere."""

from __future__ import annotations

import json
import re
import runpy
import subprocess
import sys
import tomllib
from pathlib import Path
from urllib.parse import urlsplit

import pytest
from sybil.document import Document
from sybil.parsers.markdown import PythonCodeBlockParser

import roundel
from roundel_service import config

ROOT = Path(__file__).parents[1]
PAGES = sorted([*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md")])
KNOWN = {"python", "sh", "js", "json", "toml", "nginx", "{toctree}", "{eval-rst}"}


def pages(language: str):
    """Mark a test to run for each page that has a block of this language."""
    having = [page for page in PAGES if f"```{language}\n" in page.read_text()]
    names = [page.relative_to(ROOT).as_posix() for page in having]
    return pytest.mark.parametrize("page", having, ids=names)


def blocks(page: Path, language: str) -> list[str]:
    return re.findall(
        rf"^```{language}\n(.*?)^```", page.read_text(), re.MULTILINE | re.DOTALL
    )


@pages("python")
def test_python_blocks_run_in_order(page):
    """What a page says in Python is true, from its first block to its last."""
    document = Document.parse(str(page), PythonCodeBlockParser())
    examples = list(document.examples())

    assert examples
    for example in examples:
        example.evaluate()


@pages("json")
def test_json_blocks_are_json(page):
    """An example body can be sent as it is."""
    for block in blocks(page, "json"):
        assert json.loads(block)


@pages("toml")
def test_toml_blocks_are_settings(page, tmp_path):
    """An example file is one that the service starts with."""
    for block in blocks(page, "toml"):
        file = tmp_path / "roundel.toml"
        file.write_text(block)

        assert tomllib.loads(block)
        assert config.load({}, {}, file)


@pages("sh")
def test_commands_exist(page):
    """Each `roundel` command that a page shows is one, with these options."""
    text = "\n".join(blocks(page, "sh"))
    for line in re.findall(r"(?:^|\(|/)roundel (\w+[^)&\n]*)", text, re.MULTILINE):
        command, *arguments = line.split()
        options = [word for word in arguments if word.startswith("--")]
        shown = subprocess.run(
            [sys.executable, "-m", "roundel_service", command, "--help"],
            capture_output=True,
            text=True,
            check=True,
        ).stdout

        assert all(option in shown for option in options), line


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_lead_to_what_is_there(page):
    """No page sends its reader into the void."""
    for target in re.findall(r"\]\(([^)#]+)(?:#[^)]*)?\)", page.read_text()):
        if not urlsplit(target).scheme:
            assert (page.parent / target).exists(), target


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_every_block_is_of_a_language_that_is_tested_or_known(page):
    """A block of a new kind brings the test that runs it."""
    languages = re.findall(r"^```(\S+)$", page.read_text(), re.MULTILINE)

    assert set(languages) <= KNOWN


def test_settings_page_names_every_setting_with_its_default():
    """The table is whole, and its defaults are those of the code."""
    table = (ROOT / "docs" / "reference" / "settings.md").read_text()
    rows = dict(
        re.findall(r"^\| `ROUNDEL_(\w+)` \| `?([^|`]+?)`? \|", table, re.MULTILINE)
    )
    given = {"producer_keys": "k", "jwt_secret": "s" * 32}
    defaults = config.load(given, {})

    for name in config.Settings.__annotations__:
        told, value = rows.pop(name.upper()), getattr(defaults, name)
        if name in given:
            assert told.startswith("required")
        elif value in (None, ()):
            assert told == "none"
        elif isinstance(value, float):
            assert float(told) == value
        else:
            assert told == str(value)
    assert rows == {}


def test_readme_is_short():
    """The first page fits into a visit."""
    assert len((ROOT / "README.md").read_text().splitlines()) < 80


def test_picture_of_the_source_is_drawn_from_its_table():
    """The states that a reader sees are those that the code has."""
    script = ROOT / "docs" / "images" / "draw_source.py"
    draw = runpy.run_path(str(script))["draw"]
    picture = (ROOT / "docs" / "images" / "source.svg").read_text()

    assert draw() == picture


def test_reference_has_every_public_name():
    """What can be imported from the core is told of in its reference."""
    page = (ROOT / "docs" / "reference" / "core.md").read_text()
    told = set(re.findall(r"^\.\. auto\w+:: roundel\.(\w+)$", page, re.MULTILINE))
    types = {"Outcome", "Input", "TRANSITIONS"}

    assert set(roundel.__all__) | {"testing"} == told | types
