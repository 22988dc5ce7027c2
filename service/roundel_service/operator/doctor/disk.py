"""Checks of the SQLite engine's file and of the disk that contains it."""

from __future__ import annotations

import os
import shutil
import sqlite3
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from statistics import median

from ...engines.sqlite.connection import schema_version
from ...engines.sqlite.file_lock import check_sole_name, real_path
from ...engines.sqlite.schema import VERSION
from .finding import Finding, failure, latency, ok, warning

MIN_FREE = 1 << 30
"""Free disk space below which the finding is a warning, in bytes."""

SLOW_FSYNC = 0.02
"""Latency of a write with fsync from which the finding is a warning, in seconds."""

_WRITES = 20

_DURABILITY = {
    "full": "acknowledged writes survive a power failure",
    "normal": "writes survive a killed process; a power failure loses the last moments",
    "off": "writes survive a killed process; a power failure may lose everything",
}
_REMOTE = frozenset({"9p", "afs", "ceph", "cifs", "fuse.sshfs", "nfs", "nfs4", "smb3"})


def examine(path: Path, *, durability: str) -> list[Finding]:
    """Examine the file at *path*, which need not exist."""
    folder = _nearest_existing(path.parent)
    if not folder.is_dir() or not os.access(folder, os.W_OK):
        return [failure("engine", f"{path}: {folder} is not a writable folder")]
    check_durability = warning if durability == "off" else ok
    return [
        *_file(path),
        check_durability("durability", f"{durability}: {_DURABILITY[durability]}"),
        *_disk(folder),
        latency(
            "a write with fsync",
            _fsync_latency(folder),
            slow=SLOW_FSYNC,
            advice="every group commit waits for it; use a faster disk",
        ),
    ]


def _nearest_existing(folder: Path) -> Path:
    while not folder.exists() and folder != folder.parent:
        folder = folder.parent
    return folder


def _file(path: Path) -> Iterator[Finding]:
    if not path.exists():
        yield ok("engine", f"sqlite, {path}: does not exist; serve creates it")
        return
    try:
        check_sole_name(real_path(path))
    except OSError as error:
        yield failure("engine", str(error))
        return
    try:
        file = sqlite3.connect(f"{path.absolute().as_uri()}?mode=ro", uri=True)
    except sqlite3.Error as error:
        yield failure("engine", f"{path}: {error}")
        return
    try:
        yield from _contents(path, file)
    except OSError as error:
        yield failure("engine", str(error))
    except sqlite3.Error as error:
        yield failure("engine", f"{path}: {error}; move it away and restore a backup")
    finally:
        file.close()


def _contents(path: Path, file: sqlite3.Connection) -> Iterator[Finding]:
    schema = schema_version(file, path)
    if schema == 0:
        yield ok("engine", f"sqlite, {path}: is empty; serve fills it")
        return
    table = "mailbox" if schema == VERSION else "user"
    (users,) = file.execute(f"SELECT count(*) FROM {table}").fetchone()  # noqa: S608
    size = sum(f.stat().st_size for f in path.parent.glob(f"{path.name}*"))
    version = sqlite3.sqlite_version
    yield ok("engine", f"sqlite {version}, {path}, {size:,} bytes, {users:,} users")
    if schema < VERSION:
        yield _conversion(schema, size, shutil.disk_usage(path.parent).free)
    (verdict,) = file.execute("PRAGMA quick_check(1)").fetchone()
    if verdict == "ok":
        yield ok("integrity", "the file is not corrupt")
    else:
        yield failure("integrity", f"{verdict}; move it away and restore a backup")


def _conversion(schema: int, size: int, free: int) -> Finding:
    message = f"schema {schema}; the next start converts it, which needs up to"
    if size <= free:
        return ok("schema", f"{message} {size:,} bytes")
    return warning("schema", f"{message} {size:,} bytes, and {free:,} are free")


def _disk(folder: Path) -> Iterator[Finding]:
    free = shutil.disk_usage(folder).free
    message = f"{free / 1e9:,.1f} GB free"
    if free < MIN_FREE:
        yield warning("disk space", f"{message}; when the disk is full, calls are 503")
    else:
        yield ok("disk space", message)
    if (kind := _filesystem(folder)) in _REMOTE:
        message = f"{folder} is on {kind}, where locks may not work; use a local disk"
        yield warning("file system", message)


def _filesystem(folder: Path) -> str:
    """Return the type of the file system of *folder*, or `""` if unknown."""
    try:
        lines = Path("/proc/mounts").read_text().splitlines()
    except OSError:
        return ""
    mounts = {line.split()[1]: line.split()[2] for line in lines}
    folder = folder.resolve()
    kinds = (mounts.get(str(parent)) for parent in (folder, *folder.parents))
    return next(filter(None, kinds), "")


def _fsync_latency(folder: Path) -> float:
    with tempfile.TemporaryFile(dir=folder) as file:
        times = []
        for _ in range(_WRITES):
            start = time.perf_counter()
            os.write(file.fileno(), bytes(4_096))
            os.fsync(file.fileno())
            times.append(time.perf_counter() - start)
    return median(times)
