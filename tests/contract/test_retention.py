"""`ROUNDEL_TTL`: how long items stay, by category."""

from __future__ import annotations

import pytest
import trio

from support.service import START, body, post

TTL = "default=100, news=10,dm=0"


async def expiry(world, **fields):
    item = (await world.notify(**fields))["item"]
    page = body(await world.user().request("GET", "/v1/items"))
    return next(each for each in page["items"] if each["id"] == item)["expires_at"]


@pytest.mark.parametrize(
    ("setting", "fields", "seconds"),
    [
        pytest.param(TTL, {"category": "news"}, 10, id="named"),
        pytest.param(TTL, {"category": "mention"}, 100, id="not named"),
        pytest.param(TTL, {}, 100, id="default category"),
        pytest.param(TTL, {"category": "dm"}, None, id="never"),
        pytest.param(TTL, {"category": "news", "ttl": 7}, 7, id="given"),
        pytest.param(TTL, {"category": "news", "ttl": None}, 10, id="null"),
        pytest.param(TTL, {"category": "news", "ttl": 0}, None, id="given never"),
        pytest.param(TTL, {"category": "news", "at": START + 5}, 15, id="at"),
        pytest.param("news=10", {"category": "dm"}, None, id="no default"),
        pytest.param("", {"ttl": 0}, None, id="no setting"),
    ],
)
async def test_category_says_when_an_item_expires(
    autojump_clock, make_world, setting, fields, seconds
):
    """A given `ttl` counts first, then that of the category, then the default."""
    world = make_world(ttl=setting) if setting else make_world()
    if "at" in fields:
        item = (await world.notify(**fields))["item"]
        await trio.sleep(5.5)
        page = body(await world.user().request("GET", "/v1/items"))
        assert item == page["items"][0]["id"]
        found = page["items"][0]["expires_at"]
    else:
        found = await expiry(world, **fields)

    assert found == (None if seconds is None else START + seconds)


async def test_items_of_topics_have_a_default_of_their_own(autojump_clock, make_world):
    """To a topic the category does not count."""
    world = make_world(ttl=TTL, topic_ttl="50")
    note = {"to": {"all": True}, "title": "t", "category": "news"}
    await post(world.producer, "/v1/notify", note)
    (item,) = body(await world.user().request("GET", "/v1/items"))["items"]

    assert START + 50 == item["expires_at"]


async def test_lines_of_a_batch_expire_too(autojump_clock, make_world):
    """A batch has the same defaults."""
    world = make_world(ttl="news=10")
    line = b'{"to": {"user": "alice"}, "title": "t", "category": "news"}'
    await world.producer.request("POST", "/v1/batch", body=line)
    await trio.sleep(9.0)
    assert 1 == (await world.badge())["unread"]
    await trio.sleep(1.5)

    assert 0 == (await world.badge())["unread"]


async def test_another_ttl_of_the_service_repeats_no_call(autojump_clock, make_world):
    """The default is no part of the body that an `Idempotency-Key` stands for."""
    note = {"to": {"user": "alice"}, "title": "t"}
    key = {"Idempotency-Key": "k"}
    first = make_world(ttl="default=10")
    engine = first.service.hub.engine
    second = make_world(ttl="default=20", engine=engine)
    answers = [
        body(await post(world.producer, "/v1/notify", note, **key))
        for world in (first, second)
    ]

    assert answers[0] == answers[1]
