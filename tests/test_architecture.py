"""The house keeps its layers: what is imported, what is exported, what is where."""

from __future__ import annotations

import ast
import importlib
import inspect
import json
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PACKAGES = ["core/roundel", "adapters/roundel_adapters", "service/roundel_service"]
IMPURE = {
    *("anyio", "asyncio", "concurrent.futures", "http", "logging", "msgspec"),
    *("multiprocessing", "os.path", "quart", "quart_trio", "random", "secrets"),
    *("select", "selectors", "signal", "socket", "ssl", "subprocess", "tempfile"),
    *("threading", "time", "trio", "urllib", "hypercorn", "httpx2", "h11"),
}


def loaded_by(statement: str) -> set[str]:
    """Return the modules that a fresh interpreter has after *statement*."""
    program = f"{statement}; import sys, json; print(json.dumps([*sys.modules]))"
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True
    )
    return set(json.loads(done.stdout))


def test_importing_the_core_loads_no_io_no_clock_and_no_dice():
    """The core brings attrs and itself, and nothing that could reach outside."""
    added = loaded_by("import roundel") - loaded_by("import attrs, json")

    assert added & IMPURE == set()
    assert {name.split(".")[0] for name in added} - sys.stdlib_module_names == {
        "roundel"
    }


def sources(folder: str) -> list[Path]:
    return sorted((ROOT / folder).rglob("*.py"))


@pytest.mark.parametrize(
    "path", sources("core/roundel"), ids=lambda path: path.relative_to(ROOT).as_posix()
)
def test_core_imports_nothing_impure_and_awaits_nothing(path):
    """A module of the core is told the time, and has nobody to ask for it."""
    tree = ast.parse(path.read_text())
    imported = {
        alias.name
        for node in ast.walk(tree)
        if isinstance(node, ast.Import)
        for alias in node.names
    } | {node.module for node in ast.walk(tree) if isinstance(node, ast.ImportFrom)}

    assert imported & IMPURE == set()
    assert not any(
        isinstance(node, ast.AsyncFunctionDef | ast.Await) for node in ast.walk(tree)
    )


def test_core_exports_what_it_imports_and_nothing_else():
    """`__all__` is the public face: sorted, whole, each name documented."""
    package = importlib.import_module("roundel")
    public = {name for name in vars(package) if not name.startswith("_")}
    public -= {"annotations", "testing"}

    assert sorted(public) == sorted(package.__all__)
    for name in package.__all__:
        value = getattr(package, name)
        if inspect.isclass(value) or inspect.isfunction(value):
            assert inspect.getdoc(value), name
            assert value.__module__.startswith("roundel."), name


@pytest.mark.parametrize("package", PACKAGES)
def test_package_is_typed_and_its_public_names_are_documented(package):
    """Whoever opens a module reads first what it is for."""
    assert (ROOT / package / "py.typed").exists()
    for path in sources(package):
        tree = ast.parse(path.read_text())
        public = [
            node
            for node in tree.body
            if isinstance(node, ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef)
            and not node.name.startswith("_")
        ]
        for node in public:
            assert ast.get_docstring(node), f"{path.name}: {node.name}"


def test_nothing_stands_beside_the_houses_own_folders():
    """The top level is what everybody agreed on, and stays so."""
    listed = subprocess.run(
        ["git", "ls-files"], cwd=ROOT, capture_output=True, text=True, check=False
    )
    if listed.returncode:
        pytest.skip("not a git checkout")
    top = {line.split("/")[0] for line in listed.stdout.splitlines()}

    assert {name for name in top if not name.startswith(".")} <= {
        *("core", "adapters", "service", "tests", "docs"),
        *("pyproject.toml", "README.md", "LICENSE", "CHANGELOG.md", "CONTRIBUTING.md"),
    }
