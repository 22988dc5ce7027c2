"""The Valkey engine at one server: access, expiry, the log, and refusals."""

from __future__ import annotations

import subprocess
import sys
from functools import partial
from pathlib import Path

import pytest
import trio

from roundel_service.domain.content import encode_content
from roundel_service.domain.items import MailboxLimits
from roundel_service.domain.operations import (
    DeleteUser,
    Notify,
    Remove,
    Retract,
    Snooze,
    Update,
    UserOps,
)
from roundel_service.domain.record import RecordLimits
from roundel_service.engines.base import EngineUnavailable
from roundel_service.engines.valkey import log_follower
from roundel_service.engines.valkey.engine import IncompatibleLayout, ValkeyEngine
from roundel_service.engines.valkey.keys import Keys
from roundel_service.operator import doctor
from support import valkey_server
from support.mailboxes import note
from support.process import run
from support.relay import Relay
from support.valkey_nodes import (
    USERS,
    accepts_writes,
    eventually,
    notification,
    run_node,
    wait_until_consistent,
)

DAY = 86_400
REPOSITORY = Path(__file__).parents[4]
NEEDED_ELSEWHERE = ["+hello", "+auth", "+ping", "+select", "+cluster|slots"]
START = 1_763_690_000.0


@pytest.fixture(scope="module", params=valkey_server.KINDS)
def shared_store(request):
    with valkey_server.server(request.param) as server:
        yield server


@pytest.mark.slow
def test_missing_client_library():
    """Without the client library the import error says how to install it."""
    module = "roundel_service.engines.valkey.engine"
    code = f"import sys; sys.modules['glide'] = None\nimport {module}"
    process = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True
    )

    assert "pip install 'roundel[valkey]'" in process.stderr.splitlines()[-1]


async def test_credentials(store, nursery):
    """The URL's user and password are sent, and no error contains the password."""
    store.execute("ACL", "SETUSER", "ann", "on", ">secret", "~roundel:*", "&*", "+@all")
    async with run_node(f"valkey://ann:secret@{store.address}") as node:
        (result,) = await node.engine.apply([("alice", notification("1"))])

        assert not isinstance(result, Exception)

    engine = ValkeyEngine(f"valkey://ann:wrongsecret@{store.address}")
    await nursery.start(engine.run)
    with pytest.raises(EngineUnavailable, match=store.address) as caught:
        await engine.check()

    assert "secret" not in str(caught.value)


async def test_incompatible_layout_is_refused(store):
    """A store with another layout is neither read nor written."""
    async with run_node(store.url):
        pass
    store.execute("HSET", "roundel:meta", "layout", "9.9")
    engine = ValkeyEngine(store.url)

    with pytest.raises(
        IncompatibleLayout, match=r"expected layout 1\.\d+ in 64 shards"
    ):
        await engine.run()
    with pytest.raises(EngineUnavailable):
        await engine.read("alice")


async def test_metadata_of_another_type(store):
    """A store whose metadata are another application's is refused, by the key."""
    store.execute("SET", "roundel:meta", "x")
    engine = ValkeyEngine(store.url)

    with pytest.raises(IncompatibleLayout, match="key roundel:meta is no hash"):
        await engine.run()
    with pytest.raises(EngineUnavailable):
        await engine.read("alice")


@pytest.mark.slow
def test_serve_names_an_incompatible_layout(store, tmp_path, monkeypatch):
    """`serve` ends with one line about a store of another version, and no traceback."""
    monkeypatch.chdir(tmp_path)
    store.execute("HSET", "roundel:meta", "layout", "9.9")
    ended = run("serve", "--engine", store.url, "--bind", "127.0.0.1:0")
    (line,) = ended.stderr.splitlines()

    assert 1 == ended.returncode
    assert line.startswith("roundel: the store at ")
    assert line.endswith("got layout 9.9 in unknown shards")


@pytest.mark.slow
async def test_replica_is_not_ready(store):
    """At a replica reads and the health check fail."""
    async with run_node(store.url) as node:
        store.execute("REPLICAOF", "127.0.0.1", "1")
        try:
            with pytest.raises(EngineUnavailable, match=r"(?i)readonly|no primary"):
                await node.engine.check()
            with pytest.raises(EngineUnavailable, match=r"(?i)readonly|no primary"):
                await node.engine.read("alice")
        finally:
            store.execute("REPLICAOF", "NO", "ONE")
        await eventually(partial(accepts_writes, node.engine), "it is a primary")


async def test_full_store_is_not_ready(store):
    """The health check fails while the store refuses writes for lack of memory."""
    async with run_node(store.url) as node:
        store.execute("CONFIG", "SET", "maxmemory", "1")
        try:
            with pytest.raises(EngineUnavailable, match=r"(?i)memory"):
                await node.engine.check()
        finally:
            store.execute("CONFIG", "SET", "maxmemory", "0")
        await node.engine.check()


async def test_idle_mailbox_expires(store, nursery):
    """An expired mailbox leaves the index, and returns in a new epoch."""
    now = [START]
    engine = ValkeyEngine(store.url, clock=lambda: now[0], user_ttl=DAY)
    await nursery.start(engine.run)
    first = Notify(id="1", category="c", content=encode_content("t"), source="s")
    await engine.apply([("alice", first), ("bob", first)])
    keys = Keys("roundel")

    assert 0 < int(store.execute("TTL", keys.user("alice"))) <= 2 * DAY
    tag = keys.tag(keys.shard("alice"), "s s")
    assert int(store.execute("TTL", tag)) > 2 * DAY

    before = await engine.read("alice")
    store.execute("DEL", keys.user("alice"))

    assert ["bob"] == await engine.users(None, 9)

    now[0] += 2 * DAY
    (applied,) = await engine.apply([("alice", notification("2"))])

    assert (1, ["2"]) == (applied.badge.v, list(applied.mailbox.items))
    assert before.mailbox.epoch != applied.badge.epoch


async def test_enumeration_skips_expired_users(store, nursery):
    """Expired users in the index do not hide the users after them."""
    engine = ValkeyEngine(store.url)
    await nursery.start(engine.run)
    users = [f"user-{number}" for number in range(400)]
    await engine.apply([(user, notification("1")) for user in users])
    everyone = await engine.users(None, 999)
    expired = everyone[10:300]
    store.execute("DEL", *(Keys("roundel").user(user) for user in expired))
    pages: list[str] = []
    while page := await engine.users(pages[-1] if pages else None, 3):
        pages += page

    assert sorted(users) == sorted(everyone)
    assert everyone[:10] + everyone[300:] == pages


async def test_tags_are_renewed(store, nursery):
    """Writes renew the tags of older items, so a retraction still finds them."""
    now = [START]
    engine = ValkeyEngine(store.url, clock=lambda: now[0], user_ttl=DAY)
    await nursery.start(engine.run)
    await engine.apply(
        [
            (
                "alice",
                Notify(id="1", category="c", content=encode_content("t"), source="s"),
            )
        ]
    )
    keys = Keys("roundel")
    tag = keys.tag(keys.shard("alice"), "s s")
    store.execute("EXPIRE", tag, "100")
    now[0] += DAY / 2
    await engine.apply([("alice", notification("2"))])

    assert int(store.execute("TTL", tag)) <= 100

    now[0] += DAY
    await engine.apply([("alice", notification("3"))])

    assert int(store.execute("TTL", tag)) > 2 * DAY
    assert ["alice"] == await engine.holders(Retract(source="s"))


async def test_log_updates_other_nodes_without_a_load(store):
    """A node applies other nodes' writes from the log and loads no mailbox."""
    small = RecordLimits(mailbox=MailboxLimits(items=3), change_log_size=4)
    async with (
        run_node(store.url, limits=small) as one,
        run_node(store.url, limits=small) as two,
    ):
        loads = commands(store, "hgetall")
        for number in range(6):
            name, user = f"{number}", f"user-{number % 2}"
            await one.engine.apply([(user, notification(name))])
        await one.engine.apply(
            [("user-0", DeleteUser("forgotten")), ("user-0", notification("7"))]
        )

        async def are_equal() -> bool:
            return one.clients.records == two.clients.records

        await eventually(are_equal, "the other node's clients have the records")

        assert loads == commands(store, "hgetall")


async def test_one_command_for_many_users(store, nursery):
    """The writes of one call to users of the same shard are one command."""
    engine = ValkeyEngine(store.url)
    await nursery.start(engine.run)
    shard = Keys("roundel").shard
    users = [name for n in range(9_000) if shard(name := f"user-{n}") == 7][:100]
    await engine.apply([(user, notification("1")) for user in users])
    evaluations = commands(store, "evalsha")
    results = await engine.apply([(user, notification("2")) for user in users])

    assert [2] * 100 == [result.badge.unread for result in results]
    # The others compare the timelines of 64 shards, once a second.
    assert commands(store, "evalsha") - evaluations <= 65


def commands(store, name: str) -> int:
    """Return how many commands of this name the store has executed."""
    stats = store.info("commandstats", f"cmdstat_{name}")
    return int(stats.split(",")[0].removeprefix("calls=") or 0)


async def test_no_stored_text_of_a_retracted_item(store, monkeypatch):
    """The text of a retracted item is in no key; it leaves the log in two minutes."""
    monkeypatch.setattr(log_follower, "TRIM_INTERVAL", 0.05)
    written = Notify(
        id="1",
        category="c",
        content=encode_content("t", body="a text to retract"),
        source="s",
    )
    async with run_node(store.url) as one, run_node(store.url) as other:
        await one.engine.apply([("alice", written)])
        await one.engine.apply([("alice", Retract(source="s"))])

        async def is_gone() -> bool:
            return not store.execute("EVAL", FIND_TEXT, "0", "a text to retract")

        assert not await is_gone()
        await eventually(is_gone, "no key has the text")
        await one.engine.apply([("alice", notification("2"))])
        await wait_until_consistent(store.url, [one, other])


FIND_TEXT = """
local found = {}
for _, key in ipairs(redis.call('KEYS', '*')) do
  local kind, content = redis.call('TYPE', key).ok, {}
  if kind == 'hash' then content = redis.call('HGETALL', key) end
  if kind == 'stream' then content = redis.call('XRANGE', key, '-', '+') end
  if string.find(cmsgpack.pack(content), ARGV[1], 1, true) then
    found[#found + 1] = key
  end
end
return found
"""


def entries(store, user: str) -> list[str]:
    """Return the fields of a user's mailbox that are entries, in their order."""
    names = store.execute("HKEYS", Keys("roundel").user(user))
    return sorted((n for n in names if n[:2] == "e:"), key=lambda n: int(n[2:]))


SECRET = "a text to withdraw"
WITHDRAWALS = {
    "retract": Retract(source="s"),
    "remove": UserOps(ops=(Remove(frozenset("1")),), op_id="o"),
    "update": Update(which=Retract(source="s"), content=b'{"body":"another"}'),
    "expire": notification("3"),
    "forget": DeleteUser("new"),
}
WAITING_WITHDRAWALS = {
    "cancel": Retract(source="s"),
    "update": Update(which=Retract(source="s"), content=b'{"body":"another"}'),
    "forget": DeleteUser("new"),
    "expire": notification("3"),
}


@pytest.mark.parametrize("name", WITHDRAWALS)
async def test_withdrawn_text_leaves_the_mailbox_at_once(name, store, nursery):
    """Whatever withdraws a text leaves neither a snapshot nor an entry that has it."""
    now = [START]
    engine = ValkeyEngine(store.url, clock=lambda: now[0])
    await nursery.start(engine.run)
    key = Keys("roundel").user("alice")
    written = note("1", body=SECRET, source="s", ttl=60.0)
    for operation in (notification("0"), written, notification("2")):
        await engine.apply([("alice", operation)])

    assert ["e:1", "e:2"] == entries(store, "alice")
    assert SECRET in store.execute("HGET", key, "e:1")

    now[0] += 61.0 if name == "expire" else 1.0
    await engine.apply([("alice", WITHDRAWALS[name])])

    assert [] == entries(store, "alice")
    assert SECRET not in "".join(store.execute("HGETALL", key))


@pytest.mark.parametrize("name", WAITING_WITHDRAWALS)
async def test_withdrawn_text_that_waits_leaves_the_mailbox_at_once(
    name, store, nursery
):
    """The text of an item that is to come goes like that of an item in the list."""
    now = [START]
    engine = ValkeyEngine(store.url, clock=lambda: now[0])
    await nursery.start(engine.run)
    key = Keys("roundel").user("alice")
    written = note("1", body=SECRET, source="s", at=START + 60.0, ttl=1.0)
    for operation in (notification("0"), written):
        await engine.apply([("alice", operation)])

    assert ["e:1"] == entries(store, "alice")
    assert SECRET in store.execute("HGET", key, "e:1")

    now[0] += 99.0 if name == "expire" else 1.0
    await engine.apply([("alice", WAITING_WITHDRAWALS[name])])

    assert [] == entries(store, "alice")
    assert SECRET not in "".join(store.execute("HGETALL", key))


async def test_tags_of_items_that_wait(store, nursery):
    """A retraction finds an item that is to come, and copies have no tag."""
    engine = ValkeyEngine(store.url, clock=lambda: START)
    await nursery.start(engine.run)
    retract = Retract(source="s")
    await engine.apply([("alice", note("1", source="s", at=START + DAY))])

    assert ["alice"] == await engine.holders(retract)

    (applied,) = await engine.apply([("alice", retract)])

    assert ("1",) == applied.waiting
    assert [] == await engine.holders(retract)


async def test_mailbox_lives_until_everything_has_appeared(store, nursery):
    """The key outlives the last item that waits, and the time at which it is due."""
    engine = ValkeyEngine(store.url, clock=lambda: START, user_ttl=DAY)
    await nursery.start(engine.run)
    keys = Keys("roundel")
    shard = keys.shard("alice")
    tag = keys.tag(shard, "s s")
    soon = note("1", ttl=60.0)
    late = note("2", at=START + 300 * DAY, source="s")
    snooze = UserOps(ops=(Snooze(frozenset("1"), START + 9 * DAY),), op_id="o")
    work = {
        "alice": [soon, late],
        "bob": [note("1", ttl=200.0 * DAY)],
        "carol": [soon],
        "dave": [note("1"), snooze],
    }
    for user, operations in work.items():
        await engine.apply([(user, operation) for operation in operations])
    other = next(
        f"u{n}"
        for n in range(9_999)
        if tag == Keys("roundel").tag(Keys("roundel").shard(f"u{n}"), "s s")
    )
    await engine.apply([(other, note("1", source="s"))])
    ttls = {
        user: int(store.execute("TTL", Keys("roundel").user(user))) / DAY
        for user in work
    }

    assert {"alice": 301, "bob": 201, "carol": 2, "dave": 10} == pytest.approx(
        ttls, abs=0.01
    )
    assert int(store.execute("TTL", tag)) / DAY == pytest.approx(303, abs=0.01)

    await engine.apply([("alice", Retract(source="s"))])

    assert int(store.execute("TTL", keys.user("alice"))) <= 2 * DAY


async def test_snapshot_after_many_entries(store, nursery):
    """A snapshot replaces 16 entries, and a replay reaches back before it."""
    engine = ValkeyEngine(store.url)
    await nursery.start(engine.run)
    lengths = []
    for number in range(20):
        await engine.apply([("alice", note(f"{number}", key="k"))])
        lengths.append(len(entries(store, "alice")))
    other = ValkeyEngine(store.url)
    await nursery.start(other.run)
    record = await other.read("alice")

    assert [*range(17), 0, 1, 2] == lengths
    assert [*range(3, 21)] == [change.v for change in record.changes]
    assert ["19"] == list(record.mailbox.items)


async def test_write_too_large_for_the_log(store):
    """Other nodes load a mailbox whose write was too large for the log."""
    async with run_node(store.url) as one, run_node(store.url) as other:
        large = Notify(
            id="1", category="c", content=encode_content("t", body="b" * 9_000)
        )
        await one.engine.apply([("user-1", large)])
        stored = await wait_until_consistent(store.url, [one, other])

    assert ["1"] == list(stored["user-1"].mailbox.items)


@pytest.mark.slow
@pytest.mark.parametrize("shared_store", valkey_server.mainly("valkey"), indirect=True)
async def test_calls_time_out_without_the_store(store, nursery):
    """Claims, enumerations and tag lookups fail in bounded time."""
    relay = Relay(store.host, store.port)
    await nursery.start(relay.run)
    async with run_node(relay.url) as node:
        relay.cut()
        engine = node.engine
        calls = (
            partial(engine.claim, "k", "v", ttl=9.0),
            partial(engine.claimed, "k"),
            partial(engine.users, None, 9),
            partial(engine.holders, Retract(source="s")),
        )

        async def fails(call) -> None:
            with pytest.raises(EngineUnavailable, match=r"127\.0\.0\.1"):
                await call()

        with trio.fail_after(5.0):
            async with trio.open_nursery() as calling:
                for call in calls:
                    calling.start_soon(fails, call)


def least_privileges() -> list[str]:
    """Return the rules of the user that the documentation shows."""
    page = (REPOSITORY / "docs/how-to/scale-out.md").read_text()
    rule = page.partition("ACL SETUSER roundel ")[2].partition("```")[0]
    return rule.replace(">PASSWORD", ">secret").split()


async def test_least_privileges(store, nursery):
    """A user with the documented permissions can do everything."""
    store.execute("ACL", "SETUSER", "least", *least_privileges())
    url = f"valkey://least:secret@{store.address}"
    async with run_node(url) as one, run_node(url) as other:
        await one.engine.check()
        work = [
            (
                user,
                Notify(id="1", category="c", content=encode_content("t"), source="s"),
            )
            for user in USERS
        ]
        await one.engine.apply(work)
        assert sorted(USERS) == await other.engine.holders(Retract(source="s"))
        await one.engine.apply([(user, Retract(source="s")) for user in USERS[1:]])
        await one.engine.apply([(USERS[2], DeleteUser("new"))])
        assert "v" == await one.engine.claim("k", "v", ttl=9.0)
        assert "v" == await other.engine.claimed("k")
        assert [0] == await one.engine.report_presence({"alice": 1}, ttl=9.0)
        assert [1] == await other.engine.report_presence({"alice": 0}, ttl=9.0)
        assert {*USERS} == {*await one.engine.users(None, 99)}
        for log in ("DEL", "SET"):
            key = Keys("roundel").log(Keys("roundel").shard(USERS[0]))
            store.execute(log, key, *(["x"] if log == "SET" else []))
            await one.engine.apply([(USERS[0], notification(log))])
        await wait_until_consistent(url, [one, other])


@pytest.mark.parametrize("rule", [r for r in least_privileges() if r[0] in "+~"])
async def test_missing_permission(rule, store, nursery):
    """Without one of the documented permissions nothing is half done, and it is named.

    Some are needed by a cluster, or by the client library, which does without them.
    """
    rules = [r for r in least_privileges() if r != rule]
    store.execute("ACL", "SETUSER", "less", *rules)
    store.execute("SCRIPT", "FLUSH")
    url = f"valkey://less:secret@{store.address}"
    engine = ValkeyEngine(url)
    await nursery.start(engine.run)
    if rule in NEEDED_ELSEWHERE:
        await engine.check()
        return
    name = "key" if rule[0] == "~" else rule[1:].partition("|")[0]
    with pytest.raises(EngineUnavailable, match=name):
        await engine.check()
    (result,) = await engine.apply([("alice", notification("1"))])

    assert isinstance(result, EngineUnavailable)
    assert [] == store.execute("KEYS", "*u:alice")
    (finding,) = await doctor.examine(url)
    assert "failure" == finding.level
    assert rule.partition("|")[0][1:] in finding.message
