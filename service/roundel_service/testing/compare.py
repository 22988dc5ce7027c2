"""To say of two values just where they differ, however large they are."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

import attrs

from ..domain.items import next_expiry, total_size
from ..domain.record import Record
from ..engines.base import ApplyResult, UserOperation

MAX_SHOWN = 300
"""How many characters of a value are shown."""


def check_true(condition: object, what: str) -> None:
    """Say *what* was expected, if that is not so."""
    if not condition:
        raise AssertionError(what)


def check_equal(expected: object, actual: object, what: str) -> None:
    """Say what was expected and what came, and where, if that is not the same."""
    if expected == actual:
        return
    for where, one, other in _parts(expected, actual):
        check_equal(one, other, f"{what}{where}")
    raise AssertionError(f"{what}: expected {_shown(expected)}, got {_shown(actual)}")


def _parts(one: object, other: object) -> Iterator[tuple[str, object, object]]:
    """Yield what has the same place in both, if they are of one form."""
    if type(one) is not type(other):
        return
    kind: type = type(one)
    if attrs.has(kind):
        names = [field.name for field in attrs.fields(kind) if field.eq]
        yield from ((f".{n}", getattr(one, n), getattr(other, n)) for n in names)
    elif isinstance(one, Mapping) and isinstance(other, Mapping):
        if one.keys() == other.keys():
            yield from ((f"[{key!r}]", one[key], other[key]) for key in one)
    elif isinstance(one, list | tuple) and isinstance(other, list | tuple):
        # That one is longer can only be said of the whole.
        pairs = zip(one, other, strict=True) if len(one) == len(other) else ()
        yield from ((f"[{number}]", *pair) for number, pair in enumerate(pairs))


def _shown(value: object) -> str:
    told = repr(value)
    return told if len(told) <= MAX_SHOWN else f"{told[:MAX_SHOWN]}…"


def check_results(
    work: Sequence[UserOperation],
    expected: list[ApplyResult],
    actual: list[ApplyResult],
    what: str,
) -> None:
    """Check that each piece of work became what the model says."""
    check_equal(len(work), len(actual), f"{what}: the number of results")
    for piece, one, other in zip(work, expected, actual, strict=True):
        check_equal(
            _plain(one), _plain(other), f"{what}: the result of {_shown(piece)}"
        )


def _plain(result: ApplyResult) -> object:
    # Two exceptions are never equal.
    return repr(result) if isinstance(result, Exception) else result


def check_record(expected: Record, actual: Record, what: str) -> None:
    """Check that nothing is different, also in what is in an order."""
    check_equal(expected, actual, what)
    check_equal(_orders(expected), _orders(actual), f"{what}: the order")
    end = next_expiry(actual.mailbox.items.values())
    check_true(
        actual.mailbox.expires_at <= end, f"{what}: expires_at is after an item's"
    )
    size = total_size(actual.mailbox.items.values())
    check_equal(size, actual.mailbox.size, f"{what}: size of the items")


def _orders(record: Record) -> object:
    steps = [
        [list(getattr(step, "ids", ())) for step in change.steps]
        for change in record.changes
    ]
    return list(record.mailbox.items), steps


def check_change_log(record: Record, what: str) -> None:
    """Check that the changes are without a hole and lead to the mailbox."""
    versions = [change.v for change in record.changes]
    v = record.mailbox.v
    check_equal(
        list(range(v - len(versions) + 1, v + 1)), versions, f"{what}: the changes"
    )
    check_equal(record.mailbox.badge, record.badge, f"{what}: the badge")
