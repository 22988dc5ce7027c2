"""A store that was written with an earlier layout.

`layout_1_2.json` has the keys of such a store, as the commands that set them, and the
records that the code of that layout read from it.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, Final

import pytest
import trio

from roundel_service.domain.items import Item
from roundel_service.domain.operations import Retract
from roundel_service.domain.record import Record
from roundel_service.engines.base import MailboxDamaged
from roundel_service.engines.valkey.engine import ValkeyEngine
from roundel_service.engines.valkey.keys import Keys
from roundel_service.engines.valkey.mailbox_hash import decode_hash
from support.damaged_rows import DAMAGED_ROWS
from support.mailboxes import Clock
from support.valkey_nodes import notification
from support.valkey_server import Server

STORE: Final = json.loads(Path(__file__).with_name("layout_1_2.json").read_text())
NOW: Final = 1_763_690_020.0
ALICE: Final = Keys("roundel").user("alice")
FIELDS: Final = {"mailbox": "h", "item": "i:3", "flags": "f:1"} | {
    "result": "a:user u1",
    "change": "d:8",
}


@pytest.fixture
def store(shared_store):
    """Return a server with the keys of layout 1.2."""
    shared_store.execute("FLUSHALL")
    replication_id = shared_store.info("replication", "master_replid")
    for key, (command, *words) in STORE["keys"].items():
        values = [word.replace("REPLICATION-ID", replication_id) for word in words]
        shared_store.execute(command, key, *values)
    return shared_store


def title(item: Item) -> str:
    return str(json.loads(item.content)["title"])


async def start(nursery: trio.Nursery, store: Server) -> ValkeyEngine:
    engine = ValkeyEngine(store.url, clock=Clock(NOW))
    await nursery.start(engine.run)
    return engine


def summary(record: Record) -> dict[str, Any]:
    """Return what `layout_1_2.json` has of a record."""
    mailbox, badge = record.mailbox, record.badge
    return {
        "epoch": mailbox.epoch,
        "v": mailbox.v,
        "badge": [badge.unread, badge.unseen],
        "items": {i.id: [i.seq, title(i), i.read] for i in mailbox.items.values()},
        "results": list(mailbox.results),
        "gauges": {
            name: [it.count, it.source_version] for name, it in mailbox.gauges.items()
        },
        "disconnected_at": mailbox.disconnected_at,
        "revoked_at": mailbox.revocation.made_at,
        "changes": [change.v for change in record.changes],
    }


async def test_nothing_is_lost(store, nursery):
    """Every record has the same versions, items and changes as before the upgrade."""
    engine = await start(nursery, store)

    for user, expected in STORE["records"].items():
        assert expected == summary(await engine.read(user))
    assert ["alice", "bob"] == sorted(await engine.holders(Retract(source="s")))
    assert "1.3" == store.execute("HGET", "roundel:meta", "layout")


async def test_next_write_replaces_the_earlier_fields(store, nursery):
    """A mailbox gets its new form with its next write, and stays as it is until then.

    A client that was away during the upgrade gets the changes since its version.
    """
    engine = await start(nursery, store)
    before = await engine.read("alice")
    untouched = set(store.execute("HKEYS", ALICE))
    (applied,) = await engine.apply([("alice", notification("5"))])
    other = await start(nursery, store)
    record = await other.read("alice")

    assert "h" in untouched
    assert {"w", "x", "b"} == set(store.execute("HKEYS", ALICE))
    assert applied.mailbox == record.mailbox
    assert [*before.changes, applied.change] == list(record.changes)
    assert before.mailbox.epoch == record.mailbox.epoch


async def test_next_write_of_a_mailbox_that_nobody_reads(store, nursery):
    """Changes survive the write of a node that has not read the mailbox."""
    engine = await start(nursery, store)
    await engine.apply([("alice", notification("5")), ("bob", notification("5"))])

    assert 9 == len((await engine.read("alice")).changes)
    assert [1, 2] == [change.v for change in (await engine.read("bob")).changes]


async def test_changes_with_texts(store, nursery):
    """Changes of layout 1.1, which have texts, are not read, and go with a write."""
    store.execute("HSET", "roundel:meta", "layout", "1.1")
    store.execute("HDEL", ALICE, *(f"d:{n}" for n in range(1, 9)))
    for slot in ("1", "77"):
        store.execute("HSET", ALICE, f"c:{slot}", "a text that was retracted")
    engine = await start(nursery, store)
    expected = STORE["records"]["alice"] | {"changes": []}

    assert expected == summary(await engine.read("alice"))

    await engine.apply([("alice", notification("5"))])

    assert [9] == [change.v for change in (await engine.read("alice")).changes]
    assert {"w", "x", "b"} == set(store.execute("HKEYS", ALICE))


async def test_damaged_mailbox_of_an_earlier_layout(store, nursery):
    """A damaged mailbox of an earlier layout is an error of its user alone."""
    store.execute("HSET", ALICE, "i:1", "[]")
    engine = await start(nursery, store)
    damaged, bob = await engine.apply(
        [(user, notification("5")) for user in ("alice", "bob")]
    )

    assert isinstance(damaged, MailboxDamaged)
    assert 2 == bob.badge.unread
    assert "[]" == store.execute("HGET", ALICE, "i:1")


# The last field of a row in the store is not the last one that a row may have.
DAMAGES: Final = [it for it in DAMAGED_ROWS if it.id != "item has a field too many"]


@pytest.mark.parametrize(("kind", "damage"), DAMAGES)
def test_damaged_row(kind, damage):
    """Each damage of a row is found when the mailbox is loaded."""
    _, *words = STORE["keys"][ALICE]
    fields = dict(zip(words[::2], words[1::2], strict=True))
    row = damage(fields[FIELDS[kind]])
    stored = {name.encode(): value.encode() for name, value in fields.items()}
    stored[b"w"] = b"0123456789ab-"
    decode_hash(stored, change_log_size=256)
    stored[FIELDS[kind].encode()] = row.encode() if isinstance(row, str) else row

    with pytest.raises((ValueError, KeyError)):
        decode_hash(stored, change_log_size=256)
