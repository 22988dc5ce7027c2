"""Data files of the HTTP contract: problems, and parts of the OpenAPI document."""

from __future__ import annotations

from importlib import resources
from typing import TypeVar

import msgspec

_T = TypeVar("_T")


def read_data(name: str, kind: type[_T]) -> _T:
    """Return the content of a TOML or JSON file of this folder, as a *kind*.

    Raises `msgspec.ValidationError` if the file does not match it.
    """
    content = (resources.files(__package__) / name).read_bytes()
    codec = msgspec.toml if name.endswith(".toml") else msgspec.json
    value: _T = codec.decode(content, type=kind)
    return value
