"""Bindings of `roundel` to frameworks, one per module, and the server.

PYTEST_DONT_REWRITE: the pytest plugin is loaded also after a program has imported this.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

__all__ = ["requires_extra"]


@contextmanager
def requires_extra(extra: str) -> Iterator[None]:
    """Import optional packages in a block; an absent one is reported with its extra.

    Raises `ModuleNotFoundError` with the command that installs *extra*. Its `name` is
    the absent module.
    """
    try:
        yield
    except ModuleNotFoundError as error:
        message = f"{error.name} is missing: pip install 'roundel[{extra}]'"
        raise ModuleNotFoundError(message, name=error.name) from error
