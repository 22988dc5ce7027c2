"""A topic at a cluster whose primary fails: no broadcast is skipped or repeated."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

import attrs
import pytest
import trio

from roundel_service.domain.changes import Added
from roundel_service.domain.operations import Notify, Operation, Remove, UserOps
from roundel_service.domain.record import Record
from roundel_service.engines.base import Engine, EngineUnavailable
from roundel_service.engines.valkey.keys import Keys
from support import valkey_server
from support.mailboxes import note, put
from support.valkey_nodes import allow_failover, cluster_url, eventually, run_node
from support.valkey_server import SLOTS, Server

pytestmark = pytest.mark.slow

ALL = "#all"
PRIMARIES = 3


def primary_of(servers: Sequence[Server], user: str) -> int:
    slot = int(servers[0].execute("CLUSTER", "KEYSLOT", Keys("roundel").user(user)))
    return next(n for n in range(PRIMARIES) if slot < (n + 1) * SLOTS // PRIMARIES)


@attrs.define
class Page:
    """What a page of *user* has shown: how often each item appeared, by the changes.

    A page that gets another epoch shows the items of the whole state.
    """

    user: str
    epoch: str = ""
    v: int = 0
    appeared: Counter[str] = attrs.field(factory=Counter)

    def show(self, record: Record) -> None:
        mailbox = record.mailbox
        if mailbox.epoch != self.epoch:
            self.appeared.update(mailbox.items.keys() - self.appeared.keys())
        else:
            changes = record.changes.since(self.v)
            assert len(changes) == mailbox.v - self.v
            steps = [step for change in changes for step in change.steps]
            self.appeared.update(s.id for s in steps if isinstance(s, Added))
        self.epoch, self.v = mailbox.epoch, mailbox.v


async def retried(engine: Engine, user: str, operation: Operation) -> None:
    async def is_applied() -> bool:
        (result,) = await engine.apply([(user, operation)])
        return not isinstance(result, EngineUnavailable)

    await eventually(is_applied, "the write is accepted")


async def read(engine: Engine, page: Page) -> list[str]:
    record = None
    with trio.fail_after(20.0):
        while record is None:
            try:
                record = await engine.read(page.user)
            except EngineUnavailable:
                await trio.sleep(0.05)
    page.show(record)
    return list(record.mailbox.items)


def broadcast(name: str) -> Notify:
    return note(name, op_id=name)


def cut_replica(servers: Sequence[Server], primary: int) -> Server:
    """Disconnect the replica of a primary, and return it suspended."""
    replica = servers[PRIMARIES + primary]
    assert servers[primary].execute("WAIT", "1", "5000") == 1
    replica.pause()
    servers[primary].execute("CLIENT", "KILL", "TYPE", "replica")
    return replica


@pytest.mark.parametrize("kind", valkey_server.mainly("redis"))
async def test_topic_that_lost_its_last_writes(kind):
    """Lost broadcasts leave all followers, later ones appear, and none appears twice.

    The followers have pulled all, a part or nothing of what the topic loses, and their
    mailboxes are at the other primaries and at the lost one.
    """
    with valkey_server.cluster(kind) as servers:
        lost = primary_of(servers, ALL)
        names = [f"user-{number}" for number in range(60)]
        elsewhere = [name for name in names if primary_of(servers, name) != lost]
        beside = [name for name in names if primary_of(servers, name) == lost]
        ahead, behind, late = (Page(name) for name in elsewhere[:3])
        beside_ahead, beside_late = (Page(name) for name in beside[:2])
        early = [ahead, behind, beside_ahead]
        url = cluster_url(servers)
        async with run_node(url) as one, run_node(url) as two:
            for name in ("1", "2"):
                await put(one.engine, ALL, broadcast(name))
            for page in early:
                assert ["1", "2"] == await read(two.engine, page)
                removal = UserOps(ops=(Remove(frozenset("2")),), op_id="o")
                await put(two.engine, page.user, removal)
                assert ["1"] == await read(one.engine, page)
            replica = cut_replica(servers, lost)
            for name in ("3", "4"):
                await put(one.engine, ALL, broadcast(name))
            for page in (ahead, beside_ahead):
                assert ["1", "3", "4"] == await read(two.engine, page)
            servers[lost].kill9()
            replica.resume()
            await retried(two.engine, ALL, broadcast("5"))
            await retried(one.engine, ALL, broadcast("6"))
            pages = [ahead, behind, late, beside_ahead, beside_late]
            for engine in (one.engine, two.engine):
                held = [await read(engine, page) for page in pages]
                topic = await engine.peek(ALL)

                assert ["1", "2", "5", "6"] == list(topic.mailbox.items)
                assert [["1", "5", "6"]] * 2 == held[:2]
                assert ["1", "2", "5", "6"] == held[2] == held[4]
                assert ["1", "5", "6"] == held[3]

    assert {1} == {count for page in pages for count in page.appeared.values()}
    assert {"5", "6"} <= {*ahead.appeared} & {*behind.appeared} & {*late.appeared}


@pytest.mark.parametrize("kind", valkey_server.mainly("redis"))
async def test_topic_at_a_primary_that_does_not_answer(kind):
    """Users of the other primaries are read meanwhile, and get the news later."""
    with valkey_server.cluster(kind) as servers:
        allow_failover(servers, allowed=False)
        away = primary_of(servers, ALL)
        names = [f"user-{number}" for number in range(60)]
        users = [name for name in names if primary_of(servers, name) != away][:20]
        async with run_node(cluster_url(servers)) as node:
            engine = node.engine
            await put(engine, ALL, note("1"))
            servers[away].pause()
            try:
                with trio.fail_after(6.0):
                    for user in users:
                        await engine.read(user)
                    (result,) = await engine.apply([(users[0], note("2"))])
            finally:
                servers[away].resume()

            async def is_pulled() -> bool:
                try:
                    record = await engine.read(users[1])
                except EngineUnavailable:
                    return False
                return ["1"] == list(record.mailbox.items)

            await eventually(is_pulled, "the topic is pulled")

    assert not isinstance(result, Exception)
