"""The wheel and the source distribution: their files and metadata."""

from __future__ import annotations

import hashlib
import os
import re
import subprocess
import sys
import tarfile
from email import message_from_bytes
from email.message import Message
from pathlib import Path
from zipfile import ZipFile

import pytest
from trove_classifiers import classifiers

from support.extras import EXTRAS, FOLDERS, ROOT

pytestmark = pytest.mark.slow

FRAMEWORKS = ["AsyncIO", "Django", "FastAPI", "Flask", "Trio", "aiohttp"]
"""Frameworks whose users find the package by their classifier."""


def build(source: Path, target: Path, *formats: str) -> list[Path]:
    """Build distributions of the project in *source* into *target*."""
    subprocess.run(
        [sys.executable, "-m", "hatchling", "build", "-d", target, *formats],
        cwd=source,
        env={**os.environ, "SOURCE_DATE_EPOCH": "1763690000"},
        capture_output=True,
        timeout=60,
        check=True,
    )
    return sorted(target.iterdir())


@pytest.fixture(scope="module")
def built(tmp_path_factory):
    return build(ROOT, tmp_path_factory.mktemp("dist"))


@pytest.fixture(scope="module")
def wheel(built):
    return next(path for path in built if path.suffix == ".whl")


@pytest.fixture(scope="module")
def sdist(built):
    return next(path for path in built if path.suffix == ".gz")


@pytest.fixture(scope="module")
def unpacked(sdist, tmp_path_factory):
    target = tmp_path_factory.mktemp("sdist")
    with tarfile.open(sdist) as archive:
        archive.extractall(target, filter="data")
    (folder,) = target.iterdir()
    return folder


def metadata_of(wheel: Path) -> Message:
    """Return the fields of the wheel's METADATA, and the README as its payload."""
    with ZipFile(wheel) as archive:
        name = next(n for n in archive.namelist() if n.endswith("/METADATA"))
        return message_from_bytes(archive.read(name))


def committed_files(*folders: str) -> set[str]:
    """Return the files of the repository, as paths in its *folders*."""
    listed = subprocess.run(
        ["git", "ls-files", *folders], cwd=ROOT, capture_output=True, text=True
    )
    if listed.returncode:
        pytest.skip("not a git checkout")
    return set(listed.stdout.splitlines())


def test_wheel_contains_the_packages_and_nothing_else(wheel):
    """The wheel has each committed file of the three packages, and no test."""
    with ZipFile(wheel) as archive:
        packaged = {n for n in archive.namelist() if ".dist-info/" not in n}
    packages = {path.split("/", 1)[1] for path in committed_files(*FOLDERS)}

    assert packages - packaged == set()
    assert {name.split("/")[0] for name in packaged} == {
        path.split("/")[1] for path in FOLDERS
    }
    assert {f"{path.split('/')[1]}/py.typed" for path in FOLDERS} <= packaged


def test_sdist_contains_what_builds_and_tests_it(unpacked):
    """The source distribution has each committed file, the gate's aside."""
    missing = {p for p in committed_files() if not (unpacked / p).exists()}

    assert {path for path in missing if not path.startswith(".ci/")} == set()


def test_wheel_is_reproducible(wheel, unpacked, tmp_path):
    """The wheel built from the source distribution is the same, byte by byte."""
    (again,) = build(unpacked, tmp_path, "-t", "wheel")

    assert sha256(again) == sha256(wheel)


def sha256(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def test_classifiers_exist_and_name_the_frameworks(wheel):
    """Each classifier is one of the index's; users of a framework find the package."""
    given = metadata_of(wheel).get_all("Classifier", [])

    assert set(given) <= set(classifiers)
    assert {f"Framework :: {name}" for name in FRAMEWORKS} <= set(given)


def test_extras_are_in_the_metadata(wheel):
    """The wheel offers the extras of the project."""
    assert set(metadata_of(wheel).get_all("Provides-Extra", [])) == EXTRAS.keys()


def test_readme_of_the_index_has_no_relative_link(wheel):
    """An index shows the README without links and images that it cannot resolve."""
    readme = metadata_of(wheel).get_payload()
    targets = re.findall(r"\]\(([^)]+)\)", readme)

    assert readme.startswith("# Roundel\n")
    assert not [t for t in targets if not t.startswith(("https://", "http://"))]
