"""The nesting depth of JSON values."""

from __future__ import annotations

from collections.abc import Iterable


def is_deeper(value: object, limit: int) -> bool:
    """Return whether lists and objects of *value* are nested deeper than *limit*.

    Level by level and without recursion, so that no depth is an error; O(n).
    """
    level = _containers([value])
    for _ in range(limit):
        if not level:
            return False
        level = [child for each in level for child in _containers(_children(each))]
    return bool(level)


def _containers(values: Iterable[object]) -> list[Iterable[object]]:
    return [each for each in values if isinstance(each, (list, tuple, dict))]


def _children(container: Iterable[object]) -> Iterable[object]:
    return container.values() if isinstance(container, dict) else container
