"""Tests of the engine contract: each check fails for an engine with a flaw."""

from __future__ import annotations

from pathlib import Path

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
from support.flawed_engine import engine_with
from support.flaws import Flaw

REPOSITORY = Path(__file__).parents[3]
MEMORY, DISK, SERVER = (
    EngineTraits(),
    EngineTraits(is_durable=True),
    EngineTraits(is_durable=True, is_shared=True),
)
BY_NAME = {check.name: check for check in CHECKS}

DETECTED_BY = {
    Flaw.NEW_EPOCHS: "unwritten_mailbox",
    Flaw.SAME_EPOCH: "unwritten_mailbox unique_epochs",
    Flaw.REUSES_EPOCHS: "unique_epochs",
    Flaw.NORMALIZES_NAMES: "unwritten_mailbox users",
    Flaw.TRUNCATES_NAMES: "users",
    Flaw.WRITES_ON_READ: "reads_without_effect",
    Flaw.APPLIES_TWICE: "operations batches concurrent_writes",
    Flaw.KEEPS_EPOCH: "operations",
    Flaw.LOSES_MORE: "random_operations",
    Flaw.ROUNDS_TIMES: "values",
    Flaw.TRUNCATES_TEXT: "values random_operations",
    Flaw.GAP_IN_CHANGE_LOG: "change_log_bound concurrent_writes crash",
    Flaw.CLOSES_ON_REJECTION: "rejections",
    Flaw.REVERSES_BATCHES: "batches",
    Flaw.LATE_EXPIRY: "expiry random_operations",
    Flaw.LOSES_EXPIRY: "expiry",
    Flaw.LOSES_UPDATES: "concurrent_writes concurrent_op_ids",
    Flaw.LOSES_RESULTS: "repeated_op_ids concurrent_op_ids operations",
    Flaw.PARTIAL_WRITES: "cancellation crash",
    Flaw.LEAKS_LOCK: "cancellation",
    Flaw.TWO_WINNERS: "concurrent_claims",
    Flaw.LATEST_CLAIM_WINS: "repeated_claims",
    Flaw.ENDLESS_CLAIMS: "claim_expiry",
    Flaw.SHORT_CLAIMS: "claim_expiry",
    Flaw.SAME_SECRET: "secret",
    Flaw.SECRET_PER_NODE: "secret",
    Flaw.TWO_SECRETS: "secret",
    Flaw.SHORT_SECRET: "secret",
    Flaw.CONSTANT_SECRET: "secret",
    Flaw.COUNTS_ITSELF: "presence_of_one_node presence_of_many_nodes",
    Flaw.HIDES_NODES: "presence_of_many_nodes",
    Flaw.COUNTS_ONE_NODE: "presence_of_many_nodes",
    Flaw.ADDS_REPORTS: "presence_updates",
    Flaw.READS_BEFORE_REPORT: "concurrent_presence",
    Flaw.ENDLESS_REPORTS: "presence_expiry",
    Flaw.EARLY_REPORT_EXPIRY: "presence_expiry",
    Flaw.OMITS_A_HOLDER: "holders holders_after_retract",
    Flaw.SKIPS_A_USER: "users users_while_writing",
    Flaw.LATEST_FIRST: "users",
    Flaw.PAGES_BY_INDEX: "users_while_writing",
    Flaw.COPIES_USERS: "local_notifications remote_notifications",
    Flaw.NEVER_NOTIFIES: "local_notifications remote_notifications",
    Flaw.NOTIFIES_LATE: "local_notifications",
    Flaw.NOTIFIES_EARLY: "notification_order",
    Flaw.NOTIFIES_WRONG_RECORD: "notified_records",
    Flaw.SKIPS_NOTIFICATIONS: "remote_notifications",
    Flaw.READS_STALE: "shared_reads monotonic_reads",
    Flaw.RESTORES_OLD_STORE: "nodes_join_and_leave restart crash",
    Flaw.HANGS: "stopped_engine",
    Flaw.LOSES_LATEST_WRITE: "restart crash",
    Flaw.LOSES_CLAIMS: "restart",
    Flaw.LOSES_SECRET: "restart",
    Flaw.LOSES_WAITING: "waiting_items random_operations",
    Flaw.LATE_APPEARANCE: "waiting_items",
    Flaw.LOSES_MUTED: "muted_names",
    Flaw.NEVER_PULLS: "pulls pulls_back random_topics",
    Flaw.PULLS_OLD_TOPICS: "pulls pulls_back pulls_once",
    Flaw.PULLS_ON_READ_ONLY: "pulls subscriptions",
    Flaw.KEEPS_PULLS_IN_MEMORY: "pulls publish_and_peek",
    Flaw.PULLS_WITHOUT_LOCK: "pulls_once",
    Flaw.PUSHES_TO_USERS: "publish_and_peek",
    Flaw.PEEK_PULLS: "publish_and_peek",
    Flaw.WRITES_WITHOUT_NEWS: "publish_and_peek",
    Flaw.SAME_LIMITS: "overflow_of_topics",
    Flaw.FORGETS_EVICTIONS: "overflow_of_topics",
    Flaw.LOSES_POSITIONS: "pulls subscriptions topic_epochs random_topics",
    Flaw.SHORT_POSITIONS: "topic_epochs",
    Flaw.LOSES_EPOCH_HISTORY: "topic_epochs",
    Flaw.IGNORES_SNOOZED_COPIES: "pulls_back",
    Flaw.DELETES_WITHOUT_TOPICS: "subscriptions",
    Flaw.FOLDS_TOPICS: "names_of_topics",
    Flaw.IGNORES_DUE_TOPICS: "due_topics",
    Flaw.PULLS_UNSTORED: "due_topics topic_notifications",
    Flaw.STORES_TOPIC_LATE: "topic_notifications",
    Flaw.OMITS_TOPICS: "pulls_back",
    Flaw.LOSES_TOPICS: "restart_with_topics crash_with_topics",
}


def memory(setup: Setup) -> MemoryEngine:
    return MemoryEngine(setup.limits, clock=setup.clock)


@pytest.mark.slow
async def test_memory_engine():
    """The memory engine passes all checks that apply to it."""
    await check_engine(memory)


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize(
    "traits", [MEMORY, DISK, SERVER], ids=["one", "disk", "server"]
)
async def test_engine_without_a_flaw(traits, seed):
    """An engine without a flaw passes all checks with every seed."""
    await check_engine(
        engine_with(None),
        is_durable=traits.is_durable,
        is_shared=traits.is_shared,
        seed=seed,
    )


@pytest.mark.parametrize(
    ("flaw", "name"),
    [(flaw, name) for flaw in Flaw for name in DETECTED_BY[flaw].split()],
)
@pytest.mark.parametrize("seed", range(2))
async def test_flaw_is_detected(flaw, name, seed):
    """A check fails for each flaw that it covers, and its error quotes the rule."""
    check = BY_NAME[name]
    with pytest.raises(ContractViolation) as raised:
        await check.run(
            engine_with(flaw),
            is_durable=True,
            is_shared=True,
            seed=seed,
            wait_timeout=0.1,
        )

    assert str(raised.value).startswith(f"{name} (seed {seed}): {check}\n")
    assert raised.value.__cause__ is not None


def test_each_check_detects_a_flaw():
    """Each check can fail, and each flaw is covered."""
    covered = {name for names in DETECTED_BY.values() for name in names.split()}

    assert set(Flaw) == set(DETECTED_BY)
    assert set(BY_NAME) == covered
    assert len(BY_NAME) == len(CHECKS)


@pytest.mark.slow
async def test_all_violations_are_raised_together():
    """One run of `check_engine()` raises all violations."""
    with pytest.raises(ExceptionGroup) as raised:
        await check_engine(engine_with(Flaw.LOSES_RESULTS), wait_timeout=0.1)
    names = {str(error).partition(" ")[0] for error in raised.value.exceptions}

    assert {"operations", "repeated_op_ids", "concurrent_op_ids"} <= names
    assert "crash" not in names


def test_each_check_is_a_sentence():
    """The docstring of each check is the rule that it checks."""
    for check in CHECKS:
        assert str(check)[0].isupper()
        assert str(check).endswith(".")


def test_each_check_is_in_the_reference():
    """The reference has each promise, and to which engines it applies."""
    page = (REPOSITORY / "docs/reference/testing.md").read_text()
    for check in CHECKS:
        needs = check.requires
        engines = "durable" if needs.is_durable else "shared"
        engines = engines if needs != MEMORY else "all"

        assert f"| `{check.name}`: {check} | {engines} |" in page


def test_exported_names_are_documented():
    """Each name in `__all__` exists and is documented."""
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


@pytest.mark.parametrize(("expected", "actual", "message"), DIFFERENT)
def test_error_names_the_different_part(expected, actual, message):
    """The error of `check_equal()` shows only the part that differs."""
    with pytest.raises(AssertionError) as raised:
        check_equal(expected, actual, "x")

    assert message == str(raised.value)


@pytest.mark.parametrize("count", [1, 2])
async def test_error_of_the_engine(count):
    """An error of the engine is the cause of the violation."""

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
