"""Topics on two nodes of one store: each sweeps for its own streams."""

from __future__ import annotations

import time

import pytest
import trio

from roundel_adapters.wakeup import Wakeup
from roundel_service.domain.operations import Subscribe
from roundel_service.domain.record import RecordLimits
from roundel_service.streams.channel import UserChannel
from roundel_service.streams.hub import Hub
from roundel_service.testing import Setup
from support.engines import redis, store_urls
from support.mailboxes import note

__all__ = ["redis", "store_urls"]  # Fixtures are found by their names.


async def changed(wakeup: Wakeup, channel: UserChannel, item: str) -> None:
    """Wait until *channel* has *item*."""
    while item not in channel.record.mailbox.items:
        with trio.move_on_after(0.1):
            await wakeup.wait()


@pytest.mark.slow
async def test_publish_at_another_node(redis, nursery):
    """A publish at one node arrives at the streams of the other node."""
    setup = Setup(name="topics", clock=time.time, limits=RecordLimits())
    hubs = [Hub(redis(setup)) for _ in range(2)]
    for hub in hubs:
        await nursery.start(hub.engine.run)
        await nursery.start(hub.run)
    here, there = hubs
    alice, bob = await there.channel("alice"), await there.channel("bob")
    away = await here.channel("carol")
    await there.apply("alice", Subscribe(topic="team"))
    with trio.fail_after(20):
        await here.apply("#team", note("standup"))
        await changed(alice.wakeup, alice, "standup")
        await here.apply("#all", note("news"))
        for channel in (alice, bob, away):
            await changed(channel.wakeup, channel, "news")

    assert [2, 1, 1] == [each.badge.unread for each in (alice, bob, away)]
    # Each publish is one version of each follower, whichever node pulled it.
    assert [2, 1, 1] == [each.record.mailbox.v for each in (alice, bob, away)]
