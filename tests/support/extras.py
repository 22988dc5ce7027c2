"""Interpreters that find the packages of some extras only."""

from __future__ import annotations

import importlib.metadata as metadata
import json
import re
import subprocess
import sys
import tomllib
from pathlib import Path

from packaging.requirements import Requirement

ROOT = Path(__file__).parents[2]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
EXTRAS: dict[str, list[str]] = PROJECT["optional-dependencies"]
FOLDERS = ("core/roundel", "adapters/roundel_adapters", "service/roundel_service")
SOURCES = [str((ROOT / folder).parent) for folder in FOLDERS]

HIDE_OTHERS = """
import sys
from importlib.machinery import BuiltinImporter, FrozenImporter, PathFinder

class VisiblePackages:
    # Some packages read their own version when they are imported.
    find_distributions = PathFinder.find_distributions

    def find_spec(name, path=None, target=None):
        if name.partition(".")[0] not in {hidden!r}:
            return PathFinder.find_spec(name, path, target)

sys.path[:0] = {sources!r}
sys.meta_path[:] = [BuiltinImporter, FrozenImporter, VisiblePackages]
"""


def normalized(name: str) -> str:
    """Return the name of a distribution as PEP 503 compares it."""
    return re.sub(r"[-_.]+", "-", name).lower()


def requirements(name: str, extra: str) -> list[Requirement]:
    """Return what a distribution needs for *extra*; nothing if it is not installed."""
    if name == "roundel":
        lines = EXTRAS[extra] if extra else PROJECT["dependencies"]
    else:
        try:
            lines = metadata.requires(name) or []
        except metadata.PackageNotFoundError:
            return []
    found = map(Requirement, lines)
    return [r for r in found if r.marker is None or r.marker.evaluate({"extra": extra})]


def packages_of(*extras: str) -> set[str]:
    """Return the distributions that pip installs with roundel[*extras*]."""
    seen: set[tuple[str, str]] = set()
    todo = [("roundel", extra) for extra in ("", *extras)]
    while todo:
        name, extra = todo.pop()
        if (name, extra) in seen:
            continue
        seen.add((name, extra))
        for each in requirements(name, extra):
            # The extra's own name is needed too: it may list nothing.
            todo += [(normalized(each.name), e) for e in ("", *each.extras)]
    return {name for name, _ in seen}


def absent_packages(extra: str) -> set[str]:
    """Return the distributions of *extra* that are not installed here."""
    installed = {normalized(each.name) for each in metadata.distributions()}
    return packages_of(extra) - installed - {"roundel"}


def run_with(*extras: str, program: str) -> str:
    """Return the output of *program* where only the packages of *extras* are found."""
    visible = packages_of(*extras)
    hidden = {
        module
        for module, owners in metadata.packages_distributions().items()
        if not {normalized(owner) for owner in owners} & visible
    }
    source = HIDE_OTHERS.format(sources=SOURCES, hidden=hidden) + program
    done = subprocess.run(
        [sys.executable, "-c", source],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


IMPORT_ALL = """
import importlib, json, re
errors = {{}}
for name in {names!r}:
    try:
        importlib.import_module(name)
    except ImportError as error:
        errors[name] = str(error)
print(json.dumps(errors))
"""


def import_errors(names: list[str], *extras: str) -> dict[str, str]:
    """Import modules with *extras* alone; return the error of each that fails."""
    output = run_with(*extras, program=IMPORT_ALL.format(names=names))
    errors: dict[str, str] = json.loads(output.splitlines()[-1])
    return errors
