"""The platform's default path of the database."""

from __future__ import annotations

import os
import sys
from pathlib import Path


def default_path() -> Path:
    """Return the default path of the database, and create its folder.

    Raises `OSError` if there is no home folder or the folder cannot be created.
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
    # XDG Base Directory Specification: a relative path is ignored.
    configured = Path(os.environ.get("XDG_DATA_HOME", ""))
    base = configured if configured.is_absolute() else Path.home() / ".local" / "share"
    return base / "roundel"
