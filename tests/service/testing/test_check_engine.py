"""The contract is put to the test itself: each flaw of an engine breaks a promise."""

from __future__ import annotations

import attrs
import pytest

from roundel_service import testing
from roundel_service.engines.memory import MemoryEngine
from roundel_service.testing import (
    CHECKS,
    ContractViolation,
    EngineTraits,
    Setup,
    check_engine,
)
from roundel_service.testing.compare import equal
from support.flawed_engine import making
from support.flaws import Flaw

MEMORY, DISK, SERVER = (
    EngineTraits(),
    EngineTraits(is_durable=True),
    EngineTraits(is_durable=True, is_shared=True),
)
BY_NAME = {promise.name: promise for promise in CHECKS}

BREAKS = {
    Flaw.NEW_EPOCHS: "unwritten",
    Flaw.SAME_EPOCH: "unwritten lines",
    Flaw.REUSES_EPOCHS: "lines",
    Flaw.KEEPS_LOOKS: "looks",
    Flaw.APPLIES_TWICE: "operations batches concurrent",
    Flaw.NEVER_RENEWS: "operations",
    Flaw.FORGETS_MORE: "reducer",
    Flaw.ROUNDS_TIMES: "values",
    Flaw.CUTS_TEXT: "values reducer",
    Flaw.RING_WITH_A_HOLE: "ring concurrent crash",
    Flaw.REFUSES_HALF: "refusals",
    Flaw.REVERSES: "batches",
    Flaw.LATE_EXPIRY: "expiry reducer",
    Flaw.FORGETS_EXPIRY: "expiry",
    Flaw.LOSES_UPDATES: "concurrent repeats",
    Flaw.FORGETS_IDS: "op_ids repeats operations",
    Flaw.HALF_WRITES: "cancelled crash",
    Flaw.WEDGES: "cancelled",
    Flaw.TWO_WINNERS: "one_winner",
    Flaw.CLAIMS_ANEW: "claimed_again",
    Flaw.ENDLESS_CLAIMS: "claims_end",
    Flaw.SHORT_CLAIMS: "claims_end",
    Flaw.COUNTS_ITSELF: "alone attended",
    Flaw.HIDES_NODES: "attended",
    Flaw.HEARS_ONE: "attended",
    Flaw.ADDS_STREAMS: "attended_again",
    Flaw.HEARS_FIRST: "attended_at_once",
    Flaw.ENDLESS_STREAMS: "attendance_ends",
    Flaw.FORGETS_STREAMS: "attendance_ends",
    Flaw.MISSES_A_HOLDER: "holders retracted",
    Flaw.SKIPS_A_USER: "users newcomers",
    Flaw.LATEST_FIRST: "users",
    Flaw.WALKS_BY_NUMBER: "newcomers",
    Flaw.COPIES_USERS: "told_here told_elsewhere",
    Flaw.NEVER_TELLS: "told_here told_elsewhere",
    Flaw.TELLS_LATE: "told_here",
    Flaw.TELLS_EARLY: "told_after",
    Flaw.TELLS_TALES: "told_truly",
    Flaw.TELLS_FEW: "told_elsewhere",
    Flaw.READS_STALE: "elsewhere never_back",
    Flaw.WRITES_BACK: "leaving restart crash",
    Flaw.HANGS: "ended",
    Flaw.LOSES_THE_TAIL: "restart crash",
    Flaw.LOSES_CLAIMS: "restart",
}


def memory(setup: Setup) -> MemoryEngine:
    return MemoryEngine(setup.limits, clock=setup.clock)


@pytest.mark.slow
async def test_engine_in_memory_keeps_its_promises():
    """What the service does without a disk is what every engine does."""
    await check_engine(memory)


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("kind", [MEMORY, DISK, SERVER], ids=["one", "disk", "server"])
async def test_engine_without_a_flaw_keeps_all_promises(kind, seed):
    """What the suite asks for can be done, and is not a matter of luck."""
    await check_engine(
        making(None), is_durable=kind.is_durable, is_shared=kind.is_shared, seed=seed
    )


@pytest.mark.parametrize(
    ("flaw", "name"), [(flaw, name) for flaw in Flaw for name in BREAKS[flaw].split()]
)
@pytest.mark.parametrize("seed", range(2))
async def test_flaw_is_found_out(flaw, name, seed):
    """An engine that does not keep a promise is told so, with the promise."""
    promise = BY_NAME[name]
    with pytest.raises(ContractViolation) as raised:
        await promise.check(
            making(flaw),
            is_durable=True,
            is_shared=True,
            seed=seed,
            patience=0.1,
        )

    assert str(raised.value).startswith(f"{name} (seed {seed}): {promise}\n")
    assert raised.value.__cause__ is not None


def test_each_promise_is_broken_by_a_flaw():
    """No promise is checked by a story that cannot fail."""
    broken = {name for names in BREAKS.values() for name in names.split()}

    assert set(Flaw) == set(BREAKS)
    assert set(BY_NAME) == broken
    assert len(BY_NAME) == len(CHECKS)


@pytest.mark.slow
async def test_all_broken_promises_are_told_together():
    """One run says all that is wrong."""
    with pytest.raises(ExceptionGroup) as raised:
        await check_engine(making(Flaw.FORGETS_IDS), patience=0.1)
    names = {str(error).partition(" ")[0] for error in raised.value.exceptions}

    assert {"operations", "op_ids", "repeats"} <= names
    assert "crash" not in names


def test_each_promise_is_a_sentence():
    """A promise that was broken says what was promised."""
    for promise in CHECKS:
        assert str(promise)[0].isupper()
        assert str(promise).endswith(".")


def test_package_exports_what_it_says():
    """`__all__` is the public face, and each name in it is documented."""
    for name in testing.__all__:
        value = getattr(testing, name)

        assert name in ("PROMISES", "MakeEngine") or value.__doc__, name


@attrs.frozen
class Pair:
    """A value with parts."""

    one: object
    other: object = attrs.field(eq=False)


DIFFERENT = [
    (1, 2, "x: expected 1, got 2"),
    ({"a": [1, 2]}, {"a": [1, 3]}, "x['a'][1]: expected 2, got 3"),
    ({"a": 1}, {"b": 1}, "x: expected {'a': 1}, got {'b': 1}"),
    ((1, 2), (1,), "x: expected (1, 2), got (1,)"),
    ([1], (1,), "x: expected [1], got (1,)"),
    (Pair((0,), 1), Pair((5,), 2), "x.one[0]: expected 0, got 5"),
    ("a" * 400, "", f"x: expected '{'a' * 299}…, got ''"),
]


@pytest.mark.parametrize(("expected", "actual", "told"), DIFFERENT)
def test_difference_is_told_where_it_is(expected, actual, told):
    """Of two large values, a person is shown the part that matters."""
    with pytest.raises(AssertionError) as raised:
        equal(expected, actual, "x")

    assert told == str(raised.value)


@pytest.mark.parametrize("count", [1, 2])
async def test_engine_that_fails_while_it_runs(count):
    """What an engine raises is the cause of what is told."""

    def make_engine(setup: Setup) -> MemoryEngine:
        errors = [OSError(f"{number}") for number in range(count)]
        raise errors[0] if count == 1 else ExceptionGroup("all", errors)

    with pytest.raises(ContractViolation) as raised:
        await CHECKS[0].check(make_engine)

    expected = OSError if count == 1 else ExceptionGroup
    assert expected is type(raised.value.__cause__)
    assert str(raised.value).endswith(
        ["OSError: 0", "OSError: 0\nOSError: 1"][count - 1]
    )
