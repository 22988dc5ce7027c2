"""No engine keeps a text that a topic has withdrawn, nor a copy of it."""

from __future__ import annotations

import pytest

from roundel_service.domain.operations import (
    Operation,
    Retract,
    Snooze,
    Subscribe,
    Unsubscribe,
    Update,
    UserOps,
)
from roundel_service.domain.record import RecordLimits
from roundel_service.engines.sqlite.engine import SqliteEngine
from roundel_service.testing import Setup
from support.engines import SharedStore, redis, sqlite, store_urls, valkey
from support.mailboxes import Clock, note, put
from support.sqlite_files import running

# pytest finds fixtures by name.
__all__ = ["redis", "sqlite", "store_urls", "valkey"]

pytestmark = pytest.mark.slow

SECRET = "a text to withdraw"
SNOOZE = UserOps(ops=(Snooze(frozenset("1"), 2_000.0),), op_id="o")
EDIT = Update(which=Retract(source="s"), content=b'{"body":"another"}')
WAYS: dict[str, tuple[tuple[str, Operation], ...]] = {
    "retract": (("#t", Retract(source="s")),),
    "retract all": (("#t", Retract(everything=True)),),
    "edit": (("#t", EDIT),),
    "retract while snoozed": (("ann", SNOOZE), ("#t", Retract(source="s"))),
    "edit while snoozed": (("ann", SNOOZE), ("#t", EDIT)),
    "leave": (("ann", Unsubscribe("t")), ("#t", Retract(source="s"))),
    "expire": (),
    "expire while snoozed": (("ann", SNOOZE),),
}


async def withdraw(engine, clock: Clock, way: str) -> None:
    """Publish a text, let a user pull it, withdraw it, and let the user pull again."""
    await put(engine, "ann", note("own"))
    await put(engine, "ann", Subscribe(topic="t"))
    await put(engine, "#t", note("0"))
    await put(engine, "#t", note("1", body=SECRET, source="s", ttl=60.0, size=99))
    assert ["own", "0", "1"] == list((await engine.read("ann")).mailbox.items)
    for name, operation in WAYS[way]:
        await put(engine, name, operation)
    clock.now += 61.0 if way.startswith("expire") else 1.0
    for name in ("#t", "ann"):
        await engine.read(name)


@pytest.mark.parametrize("way", WAYS)
async def test_file_has_no_withdrawn_text(way, tmp_path):
    """The text is nowhere in the SQLite file, neither of the topic nor of the user."""
    path, clock = tmp_path / "roundel.db", Clock(1_000.0)
    async with running(path, clock=clock) as engine:
        assert isinstance(engine, SqliteEngine)
        await withdraw(engine, clock, way)

    assert SECRET.encode() not in path.read_bytes()


@pytest.mark.parametrize("way", WAYS)
async def test_store_has_no_withdrawn_text(way, valkey: SharedStore, nursery):
    """The text is in no field of the mailboxes in Valkey."""
    clock = Clock(1_000.0)
    setup = Setup(name=way.replace(" ", ""), clock=clock, limits=RecordLimits())
    engine = valkey(setup)
    await nursery.start(engine.run)
    await withdraw(engine, clock, way)

    for name in ("#t", "ann"):
        assert SECRET not in valkey.dump(setup.name, name)
        assert "own" in valkey.dump(setup.name, "ann")
