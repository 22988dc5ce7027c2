"""The contract is put to the test itself: each flaw of an engine breaks a check."""

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
from roundel_service.testing.compare import check_equal
from support.flawed_engine import making
from support.flaws import Flaw

MEMORY, DISK, SERVER = (
    EngineTraits(),
    EngineTraits(is_durable=True),
    EngineTraits(is_durable=True, is_shared=True),
)
BY_NAME = {check.name: check for check in CHECKS}

BREAKS = {
    Flaw.NEW_EPOCHS: "unwritten_mailbox",
    Flaw.SAME_EPOCH: "unwritten_mailbox unique_epochs",
    Flaw.REUSES_EPOCHS: "unique_epochs",
    Flaw.KEEPS_LOOKS: "reads_without_effect",
    Flaw.APPLIES_TWICE: "operations batches concurrent_writes",
    Flaw.NEVER_RENEWS: "operations",
    Flaw.FORGETS_MORE: "random_operations",
    Flaw.ROUNDS_TIMES: "values",
    Flaw.CUTS_TEXT: "values random_operations",
    Flaw.RING_WITH_A_HOLE: "change_log_bound concurrent_writes crash",
    Flaw.REFUSES_HALF: "rejections",
    Flaw.REVERSES: "batches",
    Flaw.LATE_EXPIRY: "expiry random_operations",
    Flaw.FORGETS_EXPIRY: "expiry",
    Flaw.LOSES_UPDATES: "concurrent_writes concurrent_op_ids",
    Flaw.FORGETS_IDS: "repeated_op_ids concurrent_op_ids operations",
    Flaw.HALF_WRITES: "cancellation crash",
    Flaw.WEDGES: "cancellation",
    Flaw.TWO_WINNERS: "concurrent_claims",
    Flaw.CLAIMS_ANEW: "repeated_claims",
    Flaw.ENDLESS_CLAIMS: "claim_expiry",
    Flaw.SHORT_CLAIMS: "claim_expiry",
    Flaw.COUNTS_ITSELF: "presence_of_one_node presence_of_many_nodes",
    Flaw.HIDES_NODES: "presence_of_many_nodes",
    Flaw.HEARS_ONE: "presence_of_many_nodes",
    Flaw.ADDS_STREAMS: "presence_updates",
    Flaw.HEARS_FIRST: "concurrent_presence",
    Flaw.ENDLESS_STREAMS: "presence_expiry",
    Flaw.FORGETS_STREAMS: "presence_expiry",
    Flaw.MISSES_A_HOLDER: "holders holders_after_retract",
    Flaw.SKIPS_A_USER: "users users_while_writing",
    Flaw.LATEST_FIRST: "users",
    Flaw.WALKS_BY_NUMBER: "users_while_writing",
    Flaw.COPIES_USERS: "local_notifications remote_notifications",
    Flaw.NEVER_TELLS: "local_notifications remote_notifications",
    Flaw.TELLS_LATE: "local_notifications",
    Flaw.TELLS_EARLY: "notification_order",
    Flaw.TELLS_TALES: "notified_records",
    Flaw.TELLS_FEW: "remote_notifications",
    Flaw.READS_STALE: "shared_reads monotonic_reads",
    Flaw.WRITES_BACK: "nodes_join_and_leave restart crash",
    Flaw.HANGS: "stopped_engine",
    Flaw.LOSES_THE_TAIL: "restart crash",
    Flaw.LOSES_CLAIMS: "restart",
}


def memory(setup: Setup) -> MemoryEngine:
    return MemoryEngine(setup.limits, clock=setup.clock)


@pytest.mark.slow
async def test_engine_in_memory_keeps_its_checks():
    """What the service does without a disk is what every engine does."""
    await check_engine(memory)


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("kind", [MEMORY, DISK, SERVER], ids=["one", "disk", "server"])
async def test_engine_without_a_flaw_keeps_all_checks(kind, seed):
    """What the suite asks for can be done, and is not a matter of luck."""
    await check_engine(
        making(None), is_durable=kind.is_durable, is_shared=kind.is_shared, seed=seed
    )


@pytest.mark.parametrize(
    ("flaw", "name"), [(flaw, name) for flaw in Flaw for name in BREAKS[flaw].split()]
)
@pytest.mark.parametrize("seed", range(2))
async def test_flaw_is_found_out(flaw, name, seed):
    """An engine that does not keep a check is told so, with the check."""
    check = BY_NAME[name]
    with pytest.raises(ContractViolation) as raised:
        await check.run(
            making(flaw),
            is_durable=True,
            is_shared=True,
            seed=seed,
            wait_timeout=0.1,
        )

    assert str(raised.value).startswith(f"{name} (seed {seed}): {check}\n")
    assert raised.value.__cause__ is not None


def test_each_check_is_broken_by_a_flaw():
    """No check is checked by a function that cannot fail."""
    broken = {name for names in BREAKS.values() for name in names.split()}

    assert set(Flaw) == set(BREAKS)
    assert set(BY_NAME) == broken
    assert len(BY_NAME) == len(CHECKS)


@pytest.mark.slow
async def test_all_broken_checks_are_told_together():
    """One run says all that is wrong."""
    with pytest.raises(ExceptionGroup) as raised:
        await check_engine(making(Flaw.FORGETS_IDS), wait_timeout=0.1)
    names = {str(error).partition(" ")[0] for error in raised.value.exceptions}

    assert {"operations", "repeated_op_ids", "concurrent_op_ids"} <= names
    assert "crash" not in names


def test_each_check_is_a_sentence():
    """A check that was broken says what was checkd."""
    for check in CHECKS:
        assert str(check)[0].isupper()
        assert str(check).endswith(".")


def test_package_exports_what_it_says():
    """`__all__` is the public face, and each name in it is documented."""
    for name in testing.__all__:
        value = getattr(testing, name)

        assert name in ("CHECKS", "MakeEngine") or value.__doc__, name


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
        check_equal(expected, actual, "x")

    assert told == str(raised.value)


@pytest.mark.parametrize("count", [1, 2])
async def test_engine_that_fails_while_it_runs(count):
    """What an engine raises is the cause of what is told."""

    def make_engine(setup: Setup) -> MemoryEngine:
        errors = [OSError(f"{number}") for number in range(count)]
        raise errors[0] if count == 1 else ExceptionGroup("all", errors)

    with pytest.raises(ContractViolation) as raised:
        await CHECKS[0].run(make_engine)

    expected = OSError if count == 1 else ExceptionGroup
    assert expected is type(raised.value.__cause__)
    assert str(raised.value).endswith(
        ["OSError: 0", "OSError: 0\nOSError: 1"][count - 1]
    )
