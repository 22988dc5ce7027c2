"""One process at a time has a file."""

from __future__ import annotations

import os
from pathlib import Path
from typing import final


@final
class FileLock:
    """Keeps other processes from *path*, until `release()` or the process ends.

    Makes the file if there is none. Raises `OSError`, which says why not.
    """

    def __init__(self, path: Path) -> None:
        # SQLite's own locks would be lost if anybody here closed the file itself.
        beside = path.with_name(path.name + ".lock")
        self._descriptor = -1
        try:
            self._descriptor = _opened(beside)
            _lock(self._descriptor)
            os.ftruncate(self._descriptor, 0)
            os.pwrite(self._descriptor, f"{os.getpid()}\n".encode(), 0)
            os.close(_opened(path))
        except BlockingIOError:
            who = _who(self._descriptor)
            self.release()
            raise BlockingIOError(
                f"{path}: is in use by another process{who}: "
                "stop that one, or give another path"
            ) from None
        except OSError as error:
            self.release()
            raise _refusal(path, error) from None

    def release(self) -> None:
        """Let others have the file."""
        if self._descriptor >= 0:
            os.close(self._descriptor)
        self._descriptor = -1


def _opened(path: Path) -> int:
    # What people are told is nobody else's business.
    return os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)


def _lock(descriptor: int) -> None:
    try:
        import fcntl
    except ImportError:  # Not on Windows.
        return
    fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)


def _who(descriptor: int) -> str:
    found = os.pread(descriptor, 20, 0).strip()
    return f" ({found.decode()})" if found.isdigit() else ""


def _refusal(path: Path, error: OSError) -> OSError:
    if isinstance(error, FileNotFoundError):
        return OSError(f"{path}: there is no folder {path.parent}: make it")
    if isinstance(error, IsADirectoryError):
        return OSError(f"{path}: is a folder: give the path of a file")
    return OSError(f"{path}: cannot be opened ({error.strerror})")
