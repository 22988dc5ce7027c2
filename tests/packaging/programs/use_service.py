"""The extra `service`: a notification and the badge, on the memory engine."""

from __future__ import annotations

import json

import trio

from roundel_adapters.testing import AsgiClient
from roundel_service import app as service
from roundel_service import settings
from roundel_service.testing.fixtures import BadgeTab, run_badge_service

KEY = "a-key-for-my-backend"
GIVEN = {"producer_keys": KEY, "jwt_secret": "s" * 32, "engine": "memory"}


async def main() -> None:
    built = service.build(settings.load(GIVEN, {}))
    token = built.authenticator.sign("alice", ttl=3_600)
    client = AsgiClient(built.app)
    async with trio.open_nursery() as nursery:
        await nursery.start(built.run)
        response = await client.request(
            "POST",
            "/v1/notify",
            headers={
                "Authorization": f"Bearer {KEY}",
                "Content-Type": "application/json",
            },
            body=b'{"to": {"user": "alice"}, "title": "hello"}',
        )
        assert response.status < 300, response
        response = await client.request(
            "GET", "/v1/badge", headers={"Authorization": f"Bearer {token}"}
        )
        assert json.loads(response.body)["unread"] == 1, response
        nursery.cancel_scope.cancel()


trio.run(main)

with run_badge_service(ping="5") as running:
    tab: BadgeTab = running.open("alice", level="items")
    running.notify("alice", "hello", ttl=60)
    assert tab.badge.unread == 1
    assert [sent.title for sent in running.notifications] == ["hello"]
