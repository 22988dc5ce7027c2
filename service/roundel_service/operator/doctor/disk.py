"""The SQLite engine's file, the disk it is on, and who has it."""

from __future__ import annotations

import os
import shutil
import sqlite3
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from statistics import median

from .finding import Finding, failure, latency, ok, warning

LITTLE = 1 << 30
"""How many bytes should be free."""

WRITES = 20
"""How often a write is tried, to see how long the disk takes to be sure."""

SLOW = 0.02
"""How many seconds a write should take at the most, until the disk is sure of it."""

_KEEPS = {
    "full": "after every answer, also when the power fails",
    "normal": "when the process is killed; a loss of power takes the last moments",
    "off": "when the process is killed; a loss of power may take everything",
}
_REMOTE = frozenset({"9p", "afs", "ceph", "cifs", "fuse.sshfs", "nfs", "nfs4", "smb3"})


def examine(path: Path, *, durability: str) -> list[Finding]:
    """Return what is found of the file at *path*, which need not be there yet."""
    folder = _existing(path.parent)
    if not folder.is_dir() or not os.access(folder, os.W_OK):
        return [failure("engine", f"{path}: {folder} is no folder to write to")]
    keeps = f"durability {durability}: {_KEEPS[durability]}"
    return [
        *(_file(path) if path.exists() else _nothing(path)),
        (warning if durability == "off" else ok)("keeps data", keeps),
        *_place(folder),
        latency(
            "to be sure of a write",
            _seconds_a_write(folder),
            slow=SLOW,
            advice="every group of writes waits for it: use a faster disk",
        ),
    ]


def _existing(folder: Path) -> Path:
    while not folder.exists() and folder != folder.parent:
        folder = folder.parent
    return folder


def _nothing(path: Path) -> list[Finding]:
    return [ok("engine", f"sqlite, {path}: not there yet, it is made at the start")]


def _file(path: Path) -> Iterator[Finding]:
    try:
        file = sqlite3.connect(f"{path.absolute().as_uri()}?mode=ro", uri=True)
    except sqlite3.Error as error:
        yield failure("engine", f"{path}: {error}")
        return
    try:
        yield from _contents(path, file)
    except sqlite3.Error as error:
        yield failure("engine", f"{path}: {error}; move it away and restore a backup")
    finally:
        file.close()


def _contents(path: Path, file: sqlite3.Connection) -> Iterator[Finding]:
    (users,) = file.execute("SELECT count(*) FROM user").fetchone()
    size = sum(f.stat().st_size for f in path.parent.glob(f"{path.name}*"))
    says = f"sqlite {sqlite3.sqlite_version}, {path}, {size:,} bytes, {users:,} users"
    yield ok("engine", says)
    (verdict,) = file.execute("PRAGMA quick_check(1)").fetchone()
    if verdict == "ok":
        yield ok("integrity", "the file is whole")
    else:
        yield failure("integrity", f"{verdict}; move it away and restore a backup")


def _place(folder: Path) -> Iterator[Finding]:
    free = shutil.disk_usage(folder).free
    says = f"{free / 1e9:,.1f} GB are free"
    if free < LITTLE:
        yield warning("room", f"{says}; when the disk is full, calls are 503")
    else:
        yield ok("room", says)
    if (kind := _filesystem(folder)) in _REMOTE:
        yield warning(
            "place", f"{folder} is on {kind}, where locks may not hold: use a disk"
        )


def _filesystem(folder: Path) -> str:
    """Return what kind of file system *folder* is on, where that can be told."""
    try:
        lines = Path("/proc/mounts").read_text().splitlines()
    except OSError:
        return ""
    mounts = {line.split()[1]: line.split()[2] for line in lines}
    for parent in (folder.resolve(), *folder.resolve().parents):
        if kind := mounts.get(str(parent)):
            return kind
    return ""


def _seconds_a_write(folder: Path) -> float:
    with tempfile.TemporaryFile(dir=folder) as file:
        times = []
        for _ in range(WRITES):
            began = time.perf_counter()
            os.write(file.fileno(), bytes(4_096))
            os.fsync(file.fileno())
            times.append(time.perf_counter() - began)
    return median(times)
