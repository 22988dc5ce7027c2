"""A process that is killed in the middle of a sweep."""

from __future__ import annotations

import signal
import sys
from collections import Counter

import pytest
import trio

from roundel_service.engines.sqlite.engine import SqliteEngine
from roundel_service.streams.hub import Hub
from roundel_service.streams.sweep import CHUNK

USERS = [f"user-{number}" for number in range(4 * CHUNK)]

PROGRAM = """
import os, signal, sys
import trio
from roundel_service.domain.content import encode_content
from roundel_service.domain.operations import Notify
from roundel_service.engines.sqlite.engine import SqliteEngine
from roundel_service.streams.hub import Hub
from roundel_service.streams.sweep import CHUNK

def note(name):
    return Notify(id=name, category="c", content=encode_content(name))

async def main(path, *users):
    engine = SqliteEngine(path)
    async with trio.open_nursery() as nursery:
        await nursery.start(engine.run)
        await engine.apply([(user, note("own")) for user in users])
        hub = Hub(engine)
        await nursery.start(hub.run)
        channels = [await hub.channel(user) for user in users]
        await engine.apply([("#all", note("a")), ("#all", note("b"))])
        while True:
            behind = hub.sweep.followers_behind
            right = sum("b" in each.record.mailbox.items for each in channels)
            if behind > CHUNK and right:
                os.kill(os.getpid(), signal.SIGKILL)
            await trio.sleep(0)

trio.run(main, *sys.argv[1:])
"""


@pytest.mark.slow
async def test_kill_in_the_middle_of_a_sweep(tmp_path, nursery):
    """Each follower has pulled everything or nothing, and pulls with the next read."""
    path = tmp_path / "roundel.db"
    command = [sys.executable, "-c", PROGRAM, str(path), *USERS]
    with trio.fail_after(60):
        done = await trio.run_process(command, check=False)
    engine = SqliteEngine(path)
    await nursery.start(engine.run)
    stored = Counter([tuple((await engine.peek(u)).mailbox.items) for u in USERS])

    assert -signal.SIGKILL == done.returncode
    assert {("own",), ("own", "a", "b")} == stored.keys()

    hub = Hub(engine)
    await nursery.start(hub.run)
    records = [(await hub.channel(user)).record.mailbox for user in USERS]

    assert {(3, ("own", "a", "b"), 3)} == {
        (each.v, tuple(each.items), each.badge.unread) for each in records
    }
