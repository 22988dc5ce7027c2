"""The architecture: layers, purity, folders, exports and names."""

from __future__ import annotations

import ast
import importlib
import inspect
import json
import subprocess
import sys
from collections import defaultdict
from graphlib import TopologicalSorter
from pathlib import Path

import grimp
import pytest

ROOT = Path(__file__).parents[1]
PACKAGES = ["core/roundel", "adapters/roundel_adapters", "service/roundel_service"]
NAMES = [path.split("/")[1] for path in PACKAGES]
IMPURE = {
    *("anyio", "asyncio", "concurrent.futures", "http", "logging"),
    *("multiprocessing", "os.path", "quart", "quart_trio", "random", "secrets"),
    *("select", "selectors", "signal", "socket", "ssl", "subprocess", "tempfile"),
    *("threading", "time", "trio", "urllib", "hypercorn", "httpx2", "h11"),
}
PURE = {
    "core/roundel": {"attrs", "hypothesis"},  # `roundel.testing` has strategies.
    "service/roundel_service/domain": {"msgspec"},
}
"""Folders without I/O, clock and randomness, and the libraries that they may import."""

MAX_LEVELS = 11
"""Levels of imports between the folders of the three packages."""
MAX_FILES = 20
"""Python files in a folder; `engines/valkey` may have more."""
SAME_CONCEPT = {"EventStreamResponse", "StoredRecord"}
"""Class names that two packages use for the same concept."""


def modules_loaded_by(statement: str) -> set[str]:
    """Return the modules that a fresh interpreter has loaded after *statement*."""
    program = f"{statement}; import sys, json; print(json.dumps([*sys.modules]))"
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True
    )
    return set(json.loads(done.stdout))


def sources(folder: str) -> list[Path]:
    return sorted((ROOT / folder).rglob("*.py"))


def public_definitions(path: Path) -> list[ast.ClassDef | ast.FunctionDef]:
    """Return the public classes and functions that a module defines."""
    return [
        node
        for node in ast.parse(path.read_text()).body
        if isinstance(node, ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef)
        and not node.name.startswith("_")
    ]


def test_importing_the_core_loads_attrs_and_no_io():
    """`import roundel` loads attrs, and no module for I/O, time or randomness."""
    added = modules_loaded_by("import roundel")
    added -= modules_loaded_by("import attrs, json")

    assert added & IMPURE == set()
    assert {name.split(".")[0] for name in added} - sys.stdlib_module_names == {
        "roundel"
    }


@pytest.mark.parametrize(
    ("path", "libraries"),
    [
        pytest.param(path, libraries, id=path.relative_to(ROOT).as_posix())
        for folder, libraries in PURE.items()
        for path in sources(folder)
    ],
)
def test_pure_module_imports_nothing_impure_and_awaits_nothing(path, libraries):
    """The core and the domain get time, randomness and bytes as arguments.

    Their values need one library each.
    """
    tree = ast.parse(path.read_text())
    imported = {
        alias.name
        for node in ast.walk(tree)
        if isinstance(node, ast.Import)
        for alias in node.names
    } | {
        node.module
        for node in ast.walk(tree)
        if isinstance(node, ast.ImportFrom) and not node.level
    }

    assert imported & IMPURE == set()
    packages = {name.split(".")[0] for name in imported} - sys.stdlib_module_names
    assert packages <= libraries | {"roundel"}
    assert not any(
        isinstance(node, ast.AsyncFunctionDef | ast.Await) for node in ast.walk(tree)
    )


def test_core_exports_what_it_imports_and_nothing_else():
    """`__all__` is sorted and complete, and each name is documented."""
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
    """Each module, public class and public function has a docstring."""
    assert (ROOT / package / "py.typed").exists()
    for path in sources(package):
        content = path.read_text()
        assert not content or ast.get_docstring(ast.parse(content)), path
        for node in public_definitions(path):
            assert ast.get_docstring(node), f"{path.name}: {node.name}"


def test_class_name_means_one_thing():
    """No public class name is defined in two modules."""
    defined = defaultdict(set)
    for package in PACKAGES:
        for path in sources(package):
            for node in public_definitions(path):
                if isinstance(node, ast.ClassDef):
                    defined[node.name].add(path.relative_to(ROOT).as_posix())
    homonyms = {name: paths for name, paths in defined.items() if len(paths) > 1}

    assert SAME_CONCEPT >= homonyms.keys(), homonyms


def import_graph() -> dict[str, set[str]]:
    """Return the modules that each module imports, type-checking imports included."""
    graph = grimp.build_graph(*NAMES, cache_dir=None)
    return {
        module: graph.find_modules_directly_imported_by(module)
        for module in graph.modules
    }


def folder_of(module: str) -> str:
    """Return the top-level folder or module of a package that has *module*."""
    parts = module.split(".")
    return ".".join(parts[:2] if parts[0] == "roundel_service" else parts[:1])


def levels_of(graph: dict[str, set[str]]) -> dict[str, int]:
    """Return the length of the longest import chain below each node.

    Raises `graphlib.CycleError` with the nodes of a cycle.
    """
    levels: dict[str, int] = {}
    for node in TopologicalSorter(graph).static_order():
        levels[node] = 1 + max((levels[each] for each in graph[node]), default=0)
    return levels


def test_no_import_cycle_and_few_levels():
    """Modules import without a cycle, and folders on at most 11 levels."""
    modules = import_graph()
    folders = defaultdict(set)
    for module, imported in modules.items():
        folders[folder_of(module)] |= {folder_of(each) for each in imported}

    assert levels_of(modules)
    assert max(levels_of({f: fs - {f} for f, fs in folders.items()}).values()) <= (
        MAX_LEVELS
    )


def test_folders_are_small():
    """No folder has more than 20 Python files, `engines/valkey` aside."""
    for package in PACKAGES:
        for folder in {path.parent for path in sources(package)}:
            if folder.name != "valkey":
                assert len([*folder.glob("*.py")]) <= MAX_FILES, folder


def test_top_level_has_the_agreed_folders_only():
    """No other file or folder is at the top level, dot-files aside."""
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
