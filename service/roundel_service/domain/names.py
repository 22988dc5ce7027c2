"""The characters and lengths that names of users and categories may have."""

from __future__ import annotations

import re
from typing import Final

USER_NAME: Final = r"[A-Za-z0-9._~@:+-]{1,128}"
"""Pattern of a user name."""

CATEGORY_NAME: Final = r"[a-z0-9._-]{1,64}"
"""Pattern of a category name."""

_USER = re.compile(USER_NAME)


def is_user_name(name: str) -> bool:
    """Return whether *name* is a valid user name."""
    return _USER.fullmatch(name) is not None
