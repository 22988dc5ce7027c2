"""Check an installed wheel: what each extra installs is enough, and the types.

    python tests/packaging/check_wheel.py dist/roundel-0.1.0-py3-none-any.whl

For each extra, a fresh environment with the wheel and that extra alone runs the program
of `programs/` that uses it. In an environment with all extras, pyright counts the
public names whose type is known, and mypy and pyright check the programs strictly.
Needs uv, mypy and pyright. `--lowest` installs the lowest versions that extras allow.
`--no-types` runs the programs only, and `--python` says which interpreter runs them.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any
from zipfile import ZipFile

PROGRAMS = Path(__file__).parent / "programs"
PROJECT = Path(__file__).parents[2] / "pyproject.toml"
PACKAGES = ("roundel", "roundel_adapters", "roundel_service")
COMPLETENESS = 0.99
"""Least share of public names whose type pyright knows."""


def main() -> None:
    arguments = argparse.ArgumentParser()
    arguments.add_argument("wheel", type=Path)
    arguments.add_argument("--lowest", action="store_true")
    arguments.add_argument("--no-types", action="store_true")
    arguments.add_argument("--python", default=sys.executable)
    given = arguments.parse_args()
    extras = extras_of(given.wheel)
    with tempfile.TemporaryDirectory() as folder:
        for name in ("core", *extras):
            alone = [name] if name in extras else []
            python = install(Path(folder, name), alone, given)
            program = PROGRAMS / f"use_{name.replace('-', '_')}.py"
            run(python, "-I", "-W", "error", program)
            print(f"works alone: {name}", flush=True)
        if not given.no_types:
            check_types(install(Path(folder, "all"), extras, given))


def extras_of(wheel: Path) -> list[str]:
    """Return the extras of the wheel; `test` has tools for this repository."""
    with ZipFile(wheel) as archive:
        name = next(n for n in archive.namelist() if n.endswith("/METADATA"))
        lines = archive.read(name).decode().splitlines()
    prefix = "Provides-Extra: "
    names = {line.removeprefix(prefix) for line in lines if line.startswith(prefix)}
    return sorted(names - {"test"})


def install(folder: Path, extras: Sequence[str], given: argparse.Namespace) -> Path:
    """Make an environment with the wheel and *extras*; return its interpreter."""
    python = folder / "bin" / "python"
    run("uv", "venv", "--quiet", "--python", given.python, folder)
    pip_install = ("uv", "pip", "install", "--quiet", "--python", python)
    if given.lowest:
        # "Direct" are the requirements of the project, and not those of the wheel.
        options = [word for extra in extras for word in ("--extra", extra)]
        run(*pip_install, "--resolution", "lowest-direct", "-r", PROJECT, *options)
    wheel = given.wheel.resolve().as_uri()
    run(*pip_install, f"roundel[{','.join(extras)}] @ {wheel}")
    return python


def check_types(python: Path) -> None:
    # Django has no types of its own.
    run("uv", "pip", "install", "--quiet", "--python", python, "django-stubs")
    for package in PACKAGES:
        score = completeness(python, package)
        print(f"types known: {package} {score:.1%}", flush=True)
        assert score >= COMPLETENESS, f"run pyright --verifytypes {package}"
    # Apart from this checkout, whose settings are for its own sources.
    folder = python.parents[1] / "user"
    shutil.copytree(PROGRAMS, folder / "programs")
    config = folder / "pyrightconfig.json"
    config.write_text('{"include": ["programs"], "typeCheckingMode": "strict"}')
    run("mypy", "--strict", "--python-executable", python, folder)
    run("pyright", "--pythonpath", python, "--project", config)


def completeness(python: Path, package: str) -> float:
    command = ("pyright", "--verifytypes", package, "--ignoreexternal", "--outputjson")
    # Pyright finds the package by the active environment only.
    environment = {**os.environ, "VIRTUAL_ENV": str(python.parents[1])}
    environment["PATH"] = f"{python.parent}:{os.environ['PATH']}"
    done = subprocess.run(
        command, env=environment, capture_output=True, text=True, check=False
    )
    report: dict[str, Any] = json.loads(done.stdout)
    return float(report["typeCompleteness"]["completenessScore"])


def run(*command: str | Path) -> None:
    # No source of this checkout may stand in for what is installed.
    environment = {n: v for n, v in os.environ.items() if n != "PYTHONPATH"}
    folder = tempfile.gettempdir()
    subprocess.run(command, cwd=folder, env=environment, timeout=300, check=True)


if __name__ == "__main__":
    main()
