"""Where the platform keeps what a program has to remember."""

from __future__ import annotations

import os
import sys
from pathlib import Path


def default_path() -> Path:
    """Return the path of the file where nobody names one; makes its folder.

    Raises `OSError` if there is no place for it.
    """
    try:
        folder = _data_folder()
    except RuntimeError:
        raise OSError("there is no home folder: set ROUNDEL_ENGINE") from None
    folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    return folder / "roundel.db"


def _data_folder() -> Path:
    if sys.platform == "darwin":
        return Path.home() / "Library" / "Application Support" / "Roundel"
    # XDG base directories: a path that is not absolute is ignored.
    given = Path(os.environ.get("XDG_DATA_HOME", ""))
    base = given if given.is_absolute() else Path.home() / ".local" / "share"
    return base / "roundel"
