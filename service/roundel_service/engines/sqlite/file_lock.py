"""A lock that lets only one process open a database file."""

from __future__ import annotations

import os
from pathlib import Path
from typing import final


@final
class FileLock:
    """Locks *path* until `release()`, or until the process ends.

    Creates the file if necessary. Raises `OSError` with the reason.
    """

    def __init__(self, path: Path) -> None:
        # A lock on the file itself would end when any descriptor of it is closed,
        # and so would SQLite's own locks (POSIX).
        lock_path = path.with_name(path.name + ".lock")
        self._descriptor = -1
        try:
            self._descriptor = _open(lock_path)
            _lock(self._descriptor)
            os.ftruncate(self._descriptor, 0)
            os.pwrite(self._descriptor, f"{os.getpid()}\n".encode(), 0)
            os.close(_open(path))
        except BlockingIOError:
            owner = _owner(self._descriptor)
            self.release()
            raise BlockingIOError(
                f"{path} is in use by another process{owner}: "
                "stop it, or give another path"
            ) from None
        except OSError as error:
            self.release()
            raise _explain(path, error) from None

    def release(self) -> None:
        """Release the lock."""
        if self._descriptor >= 0:
            os.close(self._descriptor)
        self._descriptor = -1


def _open(path: Path) -> int:
    # Only the owner may read the users' data.
    return os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)


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
    if isinstance(error, FileNotFoundError):
        return OSError(f"{path}: the folder {path.parent} does not exist: create it")
    if isinstance(error, IsADirectoryError):
        return OSError(f"{path} is a folder: give the path of a file")
    return OSError(f"cannot open {path}: {error.strerror}")
