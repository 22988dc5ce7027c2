"""The engine that nodes share: where its store is, what is kept, what is refused."""

from __future__ import annotations

import subprocess
import sys
from functools import partial

import pytest
import trio

from roundel_service.domain.items import MailboxLimits
from roundel_service.domain.operations import DeleteUser, Notify, Retract
from roundel_service.domain.record import RecordLimits
from roundel_service.engines.base import EngineUnavailable
from roundel_service.engines.valkey.engine import IncompatibleLayout, ValkeyEngine
from roundel_service.engines.valkey.keys import Keys
from roundel_service.engines.valkey.url import StoreUrl, parse_url
from support import valkey_server
from support.relay import Relay
from support.valkey_nodes import all_hold_the_truth, eventually, node, note

DAY = 86_400
START = 1_763_690_000.0


@pytest.fixture(scope="module", params=valkey_server.KINDS)
def shared_store(request):
    with valkey_server.server(request.param) as made:
        yield made


@pytest.fixture
def store(shared_store):
    shared_store.ask("FLUSHALL")
    return shared_store


def place(*addresses: tuple[str, int], **told) -> StoreUrl:
    return StoreUrl(addresses=addresses, **told)


@pytest.mark.parametrize(
    ("url", "expected"),
    [
        ("valkey://host", place(("host", 6379))),
        ("redis://host:7000/2", place(("host", 7000), database=2)),
        ("rediss://host", place(("host", 6379), has_tls=True)),
        ("valkeys://[::1]:7000", place(("::1", 7000), has_tls=True)),
        ("valkeys://h?ca=/a%20b", place(("h", 6379), has_tls=True, ca="/a b")),
        ("valkey://:p%40ss@host", place(("host", 6379), password="p@ss")),
        ("valkey://u:p@host", place(("host", 6379), user="u", password="p")),
        ("valkey://a:1,b:2,c", place(("a", 1), ("b", 2), ("c", 6379))),
        ("valkey+cluster://a,b", place(("a", 6379), ("b", 6379), is_cluster=True)),
        (
            "rediss+cluster://u:p@a:1/?prefix=two",
            place(
                ("a", 1),
                user="u",
                password="p",
                has_tls=True,
                is_cluster=True,
                prefix="two",
            ),
        ),
    ],
)
def test_url_says_where_the_store_is(url, expected):
    """Each form that the settings name is read as it is meant."""
    assert expected == parse_url(url)


@pytest.mark.parametrize(
    "url",
    [
        "valkey://",
        "valkey://secret@host",
        "valkey://u:secret@host/x",
        "valkey://u:secret@host:port",
        "valkey://u:secret@host:0",
        "valkey://u:secret@host:70000",
        "valkey://u:secret@a,,b",
        "valkey://u:secret@[::1",
        "valkey://u:secret@host?prefix=",
        "valkey://u:secret@host?prefix=a&prefix=b",
        "valkey://u:secret@host?prefix={s}",
        "valkey://u:secret@host?timeout=1",
        "valkey://u:secret@host?ca=/without/tls",
        "valkeys://u:secret@host?ca=",
        "valkeys://u:secret@host?ca=/a&ca=/b",
        "valkeys://u:secret@host?tls=insecure",
        "valkey://u:secret@host#0",
        "valkey+cluster://u:secret@host/1",
        "valkey+sentinel://u:secret@host",
        "http://u:secret@host",
        "u:secret@host",
    ],
)
def test_url_that_is_none_is_not_repeated(url):
    """What is wrong with a URL is said without what may be a password."""
    with pytest.raises(ValueError, match="expected valkey://") as caught:
        ValkeyEngine(url)

    assert "secret" not in str(caught.value)
    assert caught.value.__cause__ is None


def test_password_is_not_shown():
    """What is printed of a place, on purpose or not, is its address."""
    there = parse_url("valkey://u:secret@host")

    assert "host:6379" == str(there)
    assert "secret" not in repr(there)


@pytest.mark.slow
def test_missing_extra_is_named():
    """Whoever did not install the client is told how to."""
    module = "roundel_service.engines.valkey.engine"
    code = f"import sys; sys.modules['glide'] = None\nimport {module}"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)

    assert "pip install 'roundel[valkey]'" in done.stderr.splitlines()[-1]


async def test_password_lets_in(store, nursery):
    """A store that wants a user and a password gets them, and nobody else is told."""
    store.ask("ACL", "SETUSER", "ann", "on", ">secret", "~roundel:*", "&*", "+@all")
    async with node(f"valkey://ann:secret@{store.address}") as one:
        (result,) = await one.engine.apply([("alice", note("1"))])

        assert not isinstance(result, Exception)

    engine = ValkeyEngine(f"valkey://ann:wrongsecret@{store.address}")
    await nursery.start(engine.run)
    with pytest.raises(EngineUnavailable, match=store.address) as caught:
        await engine.check()

    assert "secret" not in str(caught.value)


async def test_other_layout_is_refused(store):
    """What this version cannot read is not guessed at, nor written over."""
    async with node(store.url):
        pass
    store.ask("HSET", "roundel:meta", "layout", "9.9")
    engine = ValkeyEngine(store.url)

    with pytest.raises(
        IncompatibleLayout, match=r"expected layout 1\.\d+ in 64 shards"
    ):
        await engine.run()
    with pytest.raises(EngineUnavailable):
        await engine.read("alice")


@pytest.mark.slow
async def test_store_that_takes_no_write(store, nursery):
    """A replica is told apart from its primary, and is not ready."""
    async with node(store.url) as one:
        store.ask("REPLICAOF", "127.0.0.1", "1")
        try:
            with pytest.raises(EngineUnavailable, match=r"(?i)readonly|no primary"):
                await one.engine.check()
            with pytest.raises(EngineUnavailable, match=r"(?i)readonly|no primary"):
                await one.engine.read("alice")
        finally:
            store.ask("REPLICAOF", "NO", "ONE")
        await eventually(partial(is_taken, one.engine), "it is a primary again")


async def test_store_that_is_full(store, nursery):
    """What is read is answered, but a node that cannot write is not ready."""
    async with node(store.url) as one:
        store.ask("CONFIG", "SET", "maxmemory", "1")
        try:
            with pytest.raises(EngineUnavailable, match=r"(?i)memory"):
                await one.engine.check()
        finally:
            store.ask("CONFIG", "SET", "maxmemory", "0")
        await one.engine.check()


async def is_taken(engine) -> bool:
    (result,) = await engine.apply([("alice", note("1"))])
    return not isinstance(result, EngineUnavailable)


async def test_idle_mailbox_expires(store, nursery):
    """It goes with all that names it, and comes back in an epoch of its own."""
    now = [START]
    engine = ValkeyEngine(store.url, clock=lambda: now[0], user_ttl=DAY)
    await nursery.start(engine.run)
    first = Notify(id="1", category="c", title="t", source="s")
    await engine.apply([("alice", first), ("bob", first)])
    keys = Keys("roundel")

    assert 0 < int(store.ask("TTL", keys.user("alice"))) <= 2 * DAY
    tag = keys.tag(keys.shard("alice"), "s s")
    assert int(store.ask("TTL", tag)) > 2 * DAY

    before = await engine.read("alice")
    store.ask("DEL", keys.user("alice"))

    assert ["bob"] == await engine.users(None, 9)

    now[0] += 2 * DAY
    (again,) = await engine.apply([("alice", note("2"))])

    assert (1, ["2"]) == (again.badge.v, list(again.mailbox.items))
    assert before.mailbox.epoch != again.badge.epoch


async def test_walk_passes_by_those_who_went(store, nursery):
    """Names of which nothing is left hide nobody who is behind them."""
    engine = ValkeyEngine(store.url)
    await nursery.start(engine.run)
    users = [f"user-{number}" for number in range(400)]
    await engine.apply([(user, note("1")) for user in users])
    walk = await engine.users(None, 999)
    gone = walk[10:300]
    store.ask("DEL", *(Keys("roundel").user(user) for user in gone))
    pages: list[str] = []
    while page := await engine.users(pages[-1] if pages else None, 3):
        pages += page

    assert sorted(users) == sorted(walk)
    assert walk[:10] + walk[300:] == pages


async def test_tags_live_as_long_as_what_they_name(store, nursery):
    """A mailbox that others keep alive is found by an old item, too."""
    now = [START]
    engine = ValkeyEngine(store.url, clock=lambda: now[0], user_ttl=DAY)
    await nursery.start(engine.run)
    await engine.apply([("alice", Notify(id="1", category="c", title="t", source="s"))])
    keys = Keys("roundel")
    tag = keys.tag(keys.shard("alice"), "s s")
    store.ask("EXPIRE", tag, "100")
    now[0] += DAY / 2
    await engine.apply([("alice", note("2"))])

    assert int(store.ask("TTL", tag)) <= 100

    now[0] += DAY
    await engine.apply([("alice", note("3"))])

    assert int(store.ask("TTL", tag)) > 2 * DAY
    assert ["alice"] == await engine.holders(Retract(source="s"))


async def test_what_was_written_is_known_without_being_read(store):
    """Who watches is told from the log, also where much has changed at once."""
    small = RecordLimits(mailbox=MailboxLimits(items=3), change_log_size=4)
    async with node(store.url, rules=small) as one, node(store.url, rules=small) as two:
        loads = commands(store, "hgetall")
        for number in range(6):
            name, user = f"{number}", f"user-{number % 2}"
            await one.engine.apply([(user, note(name))])
        await one.engine.apply(
            [("user-0", DeleteUser("forgotten")), ("user-0", note("7"))]
        )
        await all_hold_the_truth_of(one, two)

        assert loads == commands(store, "hgetall")


async def all_hold_the_truth_of(one, two) -> None:
    async def do_hold() -> bool:
        return one.clients.records == two.clients.records

    await eventually(do_hold, "the other node's clients have it")


def commands(store, name: str) -> int:
    """Return how often the store was asked this."""
    told = store.says("commandstats", f"cmdstat_{name}")
    return int(told.split(",")[0].removeprefix("calls=") or 0)


async def test_write_too_large_for_the_log(store):
    """It is looked up by who watches."""
    async with node(store.url) as one, node(store.url) as other:
        large = Notify(id="1", category="c", title="t", body="b" * 9_000)
        await one.engine.apply([("user-1", large)])
        truth = await all_hold_the_truth(store.url, [one, other])

    assert ["1"] == list(truth["user-1"].mailbox.items)


@pytest.mark.slow
async def test_calls_without_an_answer_are_bounded(store, nursery):
    """Claims, walks and looks are refused as soon as writes are."""
    relay = Relay(store.host, store.port)
    await nursery.start(relay.run)
    async with node(relay.url) as one:
        relay.cut()
        engine = one.engine
        calls = (
            partial(engine.claim, "k", "v", ttl=9.0),
            partial(engine.claimed, "k"),
            partial(engine.users, None, 9),
            partial(engine.holders, Retract(source="s")),
        )

        async def is_refused(ask) -> None:
            with pytest.raises(EngineUnavailable, match=r"127\.0\.0\.1"):
                await ask()

        with trio.fail_after(5.0):
            async with trio.open_nursery() as asking:
                for ask in calls:
                    asking.start_soon(is_refused, ask)
