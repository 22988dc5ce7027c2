"""The Lua scripts that run in the store, and the commands that call them.

A script runs atomically on the keys of one shard. The scripts compare and write; the
reducer in Python decides what a mailbox becomes. Each file in `scripts/` says which
keys and arguments it takes and what it returns.

A *timeline* is one unbroken history of a primary's data, as in PostgreSQL. Its name is
the primary's replication id followed by a random data id that is stored with the
data. The replication id changes when a replica is promoted and when a server restarts.
The data id is lost together with the data. While the timeline is the same, no
acknowledged write was lost.
"""

from __future__ import annotations

from collections.abc import Sequence
from hashlib import sha1
from importlib.resources import files
from typing import Final, final

import attrs

from .client import Command

WRITE_ID_SIZE: Final = 12
"""Length of the id of a write, in bytes."""


@final
@attrs.frozen
class Script:
    """A Lua script: its *text*, and the *sha* by which the store identifies it."""

    text: str
    sha: str

    def call(self, keys: Sequence[str], arguments: Sequence[str | bytes]) -> Command:
        """Return the command that runs the script."""
        return ["EVALSHA", self.sha, str(len(keys)), *keys, *arguments]


SCRIPTS: Final[dict[str, Script]] = {}
"""All scripts by their SHA-1."""


def _script(*names: str) -> Script:
    folder = files(__package__).joinpath("scripts")
    text = "\n".join(
        folder.joinpath(f"{name}.lua").read_text("utf-8") for name in names
    )
    # The protocol prescribes SHA-1; it protects nothing here.
    sha = sha1(text.encode(), usedforsecurity=False).hexdigest()
    return SCRIPTS.setdefault(sha, Script(text, sha))


LOAD: Final = _script("common", "mailbox", "load")
LOG_END: Final = _script("common", "log_end")
COMMIT: Final = _script("common", "mailbox", "commit")
FIND_WRITE: Final = _script("find_write")
FILTER_USERS: Final = _script("filter_users")
REPORT_PRESENCE: Final = _script("report_presence")
MISSING_PERMISSIONS: Final = _script("missing_permissions")
EVICTION: Final = _script("eviction")
CHECK_WRITABLE: Final = _script("common", "check_writable")
