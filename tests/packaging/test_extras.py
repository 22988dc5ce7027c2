"""The extras: each is enough for its modules, and a module names the one it lacks."""

from __future__ import annotations

import re
from functools import cache
from pathlib import Path

import pytest

from support.extras import EXTRAS, FOLDERS, ROOT, absent_packages, import_errors

HERE = Path(__file__).parent
FOR_DEVELOPERS = {"test"}
FOR_USERS = sorted(EXTRAS.keys() - FOR_DEVELOPERS)
PURE = ("roundel.",)
"""Modules that need attrs only."""
ENTRIES = [
    "roundel_service.app",
    "roundel_service.client",
    "roundel_service.engines",
    "roundel_service.engines.valkey.engine",
    "roundel_service.testing",
]
"""Modules of the service that other programs import first."""

pytestmark = pytest.mark.slow


def module_names() -> list[str]:
    """Return the modules that other programs import."""
    names = []
    for folder in FOLDERS:
        root = (ROOT / folder).parent
        for path in sorted((ROOT / folder).rglob("*.py")):
            parts = path.relative_to(root).with_suffix("").parts
            names.append(".".join(part for part in parts if part != "__init__"))
    service = ("roundel_service",)
    return ENTRIES + [name for name in names if not name.startswith(service)]


def is_pure(name: str) -> bool:
    return name.startswith(PURE)


def named_extras(names: list[str], *extras: str) -> dict[str, str]:
    """Return the extra that each failing import names, or else the error."""
    errors = import_errors(names, *extras)
    found = {name: re.search(r"'roundel\[(\S+)\]'", errors[name]) for name in errors}
    return {name: match[1] if match else errors[name] for name, match in found.items()}


@cache
def extra_of_each_module() -> dict[str, str]:
    """Return the last extra that each module names until its import works.

    Its folder may name the extra that it needs itself, which the module's includes.
    """
    named = named_extras(module_names())
    for extra in set(named.values()) & EXTRAS.keys():
        modules = [name for name in named if named[name] == extra]
        named |= named_extras(modules, extra)
    return named


def test_module_without_its_extra_names_it():
    """An import without the module's extra says how to install it."""
    unnamed = {n: e for n, e in extra_of_each_module().items() if e not in EXTRAS}

    assert unnamed == {}


def test_pure_modules_need_no_extra():
    """The core can be imported with attrs alone."""
    assert [] == [name for name in extra_of_each_module() if is_pure(name)]


@pytest.mark.parametrize("extra", FOR_USERS)
def test_extra_is_enough_for_its_modules(extra, lacking):
    """The modules that name an extra can be imported with that extra alone."""
    if absent := absent_packages(extra):
        lacking(f"not installed: {', '.join(sorted(absent))}")
    names = [name for name, named in extra_of_each_module().items() if named == extra]

    assert names
    assert import_errors(names, extra) == {}


def test_each_extra_has_a_program():
    """The check of the wheel runs a program for each extra."""
    programs = {path.stem for path in (HERE / "programs").glob("*.py")}

    assert {f"use_{extra.replace('-', '_')}" for extra in FOR_USERS} <= programs


def test_page_has_a_row_for_each_extra():
    """The page names the modules of each extra, and these name the extra."""
    page = (ROOT / "docs" / "how-to" / "install.md").read_text()
    page, _, _ = page.partition("## Check the Python version")
    rows = re.findall(r"^\| `(\S+)` \| [^|]+ \| ([^|]+) \|", page, re.MULTILINE)
    named = {
        name: extra for extra, cell in rows for name in re.findall("`(.+?)`", cell)
    }

    assert set(FOR_USERS) == {extra for extra, _ in rows}
    assert named == {name: extra_of_each_module().get(name) for name in named}
