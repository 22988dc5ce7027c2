"""Measure the reducer alone: the CPU time of an operation, at 20 and at 200 items.

    python tests/benchmarks/reducer.py [--rounds 20]

No engine, no I/O: `Record.apply()` on 50 mailboxes in turn, which hold as many items as
they may, of three categories. The table has the median of the rounds in microseconds.
The first operation is the usual one, the others cost O(n) in the items.
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Callable
from itertools import count

from interpreter import interpreter

from roundel_service.domain.content import encode_content
from roundel_service.domain.items import MailboxLimits
from roundel_service.domain.mailbox import Mailbox
from roundel_service.domain.operations import Mark, Notify, Operation, UserOps
from roundel_service.domain.record import Record, RecordLimits

SIZES = (20, 200)
MAILBOXES = 50
CHUNK = 500
"""Operations in a round."""

CONTENT = encode_content(
    "Bob mentioned you in a comment", url="/t/42#c7", data={"n": 7}
)
NAMES = ("mention", "reply", "build")
READ = {"read": True, "seen": True}


def note(number: int, **fields: str) -> Notify:
    category = NAMES[number % len(NAMES)]
    return Notify(
        id=f"{number:026}", category=category, content=CONTENT, size=180, **fields
    )


def mark(number: int) -> UserOps:
    """Return the operation that reads one of the newest items."""
    one = Mark(flags=READ, ids=frozenset([f"{number - MAILBOXES:026}"]))
    return UserOps(ops=(one,), op_id=f"{number}")


OPERATIONS: dict[str, Callable[[int], Operation]] = {
    "notify": note,
    "notify, with a key": lambda number: note(number, key=f"k{number % 7}"),
    "notify, with an operation id": lambda number: note(number, op_id=f"{number}"),
    "mark an item, and notify": mark,
}


class Bench:
    """Full mailboxes of one size, to which one kind of operation is applied."""

    def __init__(self, size: int, kind: str) -> None:
        self._limits = RecordLimits(mailbox=MailboxLimits(items=size))
        self._kind = kind
        self._numbers = count()
        self._records = [Record(Mailbox(epoch="e"))] * MAILBOXES
        self._apply([note(next(self._numbers)) for _ in range(size * MAILBOXES)])

    def _apply(self, operations: list[Operation]) -> float:
        """Apply *operations*, and return the CPU time of each in microseconds."""
        records, limits = self._records, self._limits
        start = time.process_time_ns()
        for number, operation in enumerate(operations):
            at = number % MAILBOXES
            records[at], _ = records[at].apply(operation, now=1.7e9, limits=limits)
        return (time.process_time_ns() - start) / len(operations) / 1_000

    def round(self) -> float:
        """Measure one round."""
        make = OPERATIONS[self._kind]
        numbers = [next(self._numbers) for _ in range(CHUNK)]
        if make is mark:
            # As many new items as are marked, so that each mark changes one.
            spent = self._apply([note(number) for number in numbers])
            return spent + self._apply([mark(number + MAILBOXES) for number in numbers])
        return self._apply([make(number) for number in numbers])


def main() -> None:
    arguments = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    arguments.add_argument("--rounds", type=int, default=20)
    rounds = arguments.parse_args().rounds
    benches = {(kind, size): Bench(size, kind) for kind in OPERATIONS for size in SIZES}
    found = {
        name: [bench.round() for _ in range(rounds)] for name, bench in benches.items()
    }
    print(f"{interpreter()}, {rounds} rounds.\n")
    print("| CPU µs |", " | ".join(f"{size} items" for size in SIZES), "|")
    print("|---" + "|--:" * len(SIZES) + "|")
    for kind in OPERATIONS:
        cells = [f"{statistics.median(found[kind, size]):.1f}" for size in SIZES]
        print(f"| {kind} |", " | ".join(cells), "|")


if __name__ == "__main__":
    main()
