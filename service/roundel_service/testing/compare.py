"""Comparisons whose errors name the part in which two values differ."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

import attrs

from ..domain.items import total_size
from ..domain.mailbox import COMPUTED_FIELDS
from ..domain.record import Record
from ..domain.waiting import next_due
from ..engines.base import ApplyResult, UserOperation

MAX_SHOWN = 300
"""Maximum length of a value in an error message, in characters."""


def check_true(condition: object, what: str) -> None:
    """Raise `AssertionError` with *what* if *condition* is false."""
    if not condition:
        raise AssertionError(what)


def check_equal(expected: object, actual: object, what: str) -> None:
    """Raise `AssertionError` with the first difference if the values are not equal."""
    if expected == actual:
        return
    for where, one, other in _parts(expected, actual):
        check_equal(one, other, f"{what}{where}")
    raise AssertionError(f"{what}: expected {_shown(expected)}, got {_shown(actual)}")


def _parts(one: object, other: object) -> Iterator[tuple[str, object, object]]:
    """Yield the corresponding parts of two values of one type."""
    if type(one) is not type(other):
        return
    cls: type = type(one)
    if names := _compared_fields(cls):
        yield from ((f".{n}", getattr(one, n), getattr(other, n)) for n in names)
    elif isinstance(one, Mapping) and isinstance(other, Mapping):
        if one.keys() == other.keys():
            yield from ((f"[{key!r}]", one[key], other[key]) for key in one)
    elif isinstance(one, list | tuple) and isinstance(other, list | tuple):
        pairs = zip(one, other, strict=True) if len(one) == len(other) else ()
        yield from ((f"[{number}]", *pair) for number, pair in enumerate(pairs))


def _compared_fields(cls: type) -> list[str]:
    """Return the names of the fields of a value class, or none of another class."""
    if attrs.has(cls):
        return [field.name for field in attrs.fields(cls) if field.eq]
    names: tuple[str, ...] = getattr(cls, "__struct_fields__", ())
    return [name for name in names if name not in COMPUTED_FIELDS]


def _shown(value: object) -> str:
    text = repr(value)
    return text if len(text) <= MAX_SHOWN else f"{text[:MAX_SHOWN]}…"


def check_results(
    work: Sequence[UserOperation],
    expected: list[ApplyResult],
    actual: list[ApplyResult],
    what: str,
) -> None:
    """Check that the results are those of the model."""
    check_equal(len(work), len(actual), f"{what}: the number of results")
    for operation, one, other in zip(work, expected, actual, strict=True):
        part = f"{what}: the result of {_shown(operation)}"
        check_equal(_plain(one), _plain(other), part)


def _plain(result: ApplyResult) -> object:
    # Exceptions compare by identity.
    return repr(result) if isinstance(result, Exception) else result


def check_record(expected: Record, actual: Record, what: str) -> None:
    """Check that records are equal, including the order of items and steps."""
    check_equal(expected, actual, what)
    check_equal(_orders(expected), _orders(actual), f"{what}: the order")
    end = next_due(actual.mailbox.items.values(), actual.mailbox.waiting)
    check_true(actual.mailbox.due_at <= end, f"{what}: due_at is too late")
    size = total_size(actual.mailbox.items.values())
    check_equal(size, actual.mailbox.size, f"{what}: size of the items")


def _orders(record: Record) -> object:
    steps = [
        [list(getattr(step, "ids", ())) for step in change.steps]
        for change in record.changes
    ]
    return list(record.mailbox.items), steps


def check_change_log(record: Record, what: str) -> None:
    """Check that the changes have consecutive versions up to that of the mailbox."""
    versions = [change.v for change in record.changes]
    v = record.mailbox.v
    expected = list(range(v - len(versions) + 1, v + 1))
    check_equal(expected, versions, f"{what}: the changes")
    check_equal(record.mailbox.badge, record.badge, f"{what}: the badge")
