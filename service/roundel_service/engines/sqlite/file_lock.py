"""A lock that lets only one process open a database file.

SQLite keeps its write-ahead log in the same folder, under the name of the file. Two
names of one file would have two logs, and each process would overwrite the writes of
the other one. So the lock belongs to the real path, after all symbolic links, and a
file with another name is rejected: a second hard link, or a mount of the file alone.
"""

from __future__ import annotations

import errno
import os
import re
import stat
from contextlib import suppress
from pathlib import Path
from typing import final


def real_path(path: Path) -> Path:
    """Return the absolute path of the file, after all symbolic links.

    Raises `OSError` if the links form a loop.
    """
    try:
        return path.resolve()
    except RuntimeError:
        raise OSError(f"{path}: its symbolic links form a loop") from None


def check_sole_name(path: Path, descriptor: int | None = None) -> None:
    """Raise `OSError` unless *path*, a real path, is the only name of a regular file.

    *descriptor* is that of the open file, if it is open.
    """
    status = os.stat(path if descriptor is None else descriptor)
    if not stat.S_ISREG(status.st_mode):
        raise OSError(f"{path} is not a regular file: give another path")
    if status.st_nlink > 1:
        raise OSError(
            f"{path} has {status.st_nlink} hard links, each with a write-ahead log of "
            "its own: remove the others, or copy the file"
        )
    if str(path) in _mount_points():
        raise OSError(
            f"{path} is mounted as a single file, without its write-ahead log: "
            "mount its folder"
        )


def _mount_points() -> set[str]:
    """Return the paths on which something is mounted; empty if that is unknown."""
    try:
        lines = Path("/proc/self/mountinfo").read_text(errors="replace").splitlines()
    except OSError:
        return set()
    # proc(5): the fifth field, with white space in octal.
    fields = (line.split()[4] for line in lines)
    return {re.sub(r"\\(\d{3})", lambda m: chr(int(m[1], 8)), f) for f in fields}


@final
class FileLock:
    """Locks the file that *path* names until `release()`, or until the process ends.

    `path` is its real path.
    """

    def __init__(self, path: Path) -> None:
        self._descriptor = -1
        self._given_path = path
        self.path: Path = real_path(path)
        self._lock_path = Path(f"{self.path}.lock")

    def acquire(self) -> None:
        """Lock the file unless it is locked; create it if necessary.

        Raises `OSError` with the reason.
        """
        if self._descriptor >= 0:
            return
        try:
            self._acquire()
        except BlockingIOError:
            owner = _owner(self._descriptor)
            self.release()
            raise BlockingIOError(
                f"{self._given_path} is in use by another process{owner}: "
                "stop it, or give another path"
            ) from None
        except OSError as error:
            self.release()
            raise _explain(self._given_path, error) from error

    def _acquire(self) -> None:
        if self.path.is_dir():
            raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR))
        # A lock on the file itself would end when any descriptor of it is closed,
        # and so would SQLite's own locks (POSIX).
        self._descriptor = _open(self._lock_path)
        # The lock file is written: it must not be another name of a user's file.
        check_sole_name(self._lock_path, self._descriptor)
        _lock(self._descriptor)
        with suppress(OSError):
            # The id is for the message of another process.
            self.write_token(self.token)
        descriptor = _open(self.path)
        try:
            check_sole_name(self.path, descriptor)
        finally:
            os.close(descriptor)

    @property
    def token(self) -> str:
        """The token that `write_token()` stored in the lock file, or `""`."""
        # The file is not open if the file system is read-only.
        try:
            content = self._lock_path.read_text("ascii", "replace").split()
        except OSError:
            return ""
        return content[1] if len(content) > 1 else ""

    def write_token(self, token: str, *, sync: bool = False) -> None:
        """Store *token* in the lock file."""
        # Not truncated first: a full disk takes a write into the same block.
        content = f"{os.getpid():<20}\n{token}\n"
        os.pwrite(self._descriptor, content.encode(), 0)
        if sync:
            os.fsync(self._descriptor)

    def release(self) -> None:
        """Release the lock."""
        if self._descriptor >= 0:
            os.close(self._descriptor)
        self._descriptor = -1


def _open(path: Path) -> int:
    # Only the owner may read the users' data. A real path ends with no link.
    flags = os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | getattr(os, "O_NOFOLLOW", 0)
    return os.open(path, flags, 0o600)


def _lock(descriptor: int) -> None:
    try:
        import fcntl
    except ImportError:  # Not on Windows.
        return
    fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)


def _owner(descriptor: int) -> str:
    pid = os.pread(descriptor, 20, 0).strip()
    return f" ({pid.decode()})" if pid.isdigit() else ""


def _explain(path: Path, error: OSError) -> OSError:
    if error.errno is None:
        # An error of this module, with a message of its own.
        return error
    opened = Path(error.filename or path)
    if isinstance(error, FileNotFoundError):
        return OSError(f"{path}: the folder {opened.parent} does not exist: create it")
    if isinstance(error, IsADirectoryError):
        return OSError(f"{opened} is a folder: give the path of a file")
    if error.errno == errno.ELOOP:
        return OSError(f"{opened} is a symbolic link: remove it")
    return OSError(f"cannot open {opened}: {error.strerror}")
