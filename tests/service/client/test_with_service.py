"""The clients with the service: each call, in memory and over sockets."""

from __future__ import annotations

import asyncio
import logging
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from threading import Semaphore, Thread

import httpx
import httpx2
import pytest
import trio
from msgspec.structs import astuple

from roundel_service.client import (
    ALL_USERS,
    AsyncBadgeClient,
    BadgeClient,
    CredentialsRejected,
    Followers,
    KeyReused,
    Notification,
    Op,
    PartialFailure,
    RequestRejected,
)
from support.badge_clients import AsgiTransport, LossyTransport
from support.ports import reserved_port
from support.process import SECRETS, SLACK, environment, started, token
from support.service import KEY, START

NAMES = [
    "alice",
    "a/b",
    "..",
    ".",
    "auth0|507f",
    "é\u0308 ü",
    "a?b#c%2F",
    "日本",
    "a\\b",
]


@pytest.fixture
async def clients(world):
    """Yield a producer's and a user's client of a service in memory."""
    transport = AsgiTransport(world.anonymous)
    token = world.service.authenticator.sign("alice", ttl=86_400)
    async with httpx2.AsyncClient(transport=transport) as http:
        url = "http://badges.test"
        yield (
            AsyncBadgeClient(url, key=KEY, client=http),
            AsyncBadgeClient(url, token=token, client=http),
        )


async def test_every_call_of_a_producer(autojump_clock, clients):
    """Each call of a producer takes effect, and returns the service's answer."""
    producer, _ = clients
    notified = await producer.notify(
        ["alice", "bob"], "Hi", category="dm", key="k", source="s", data={"n": [1]}
    )
    assert ["alice", "bob"] == [each.user for each in notified.results]

    gauge = await producer.gauge("alice", "invoices", 7, source_version=91)
    assert (True, 8) == (gauge.applied, gauge.badge.unread)
    older = await producer.gauge("alice", "invoices", 6, source_version=90)
    assert (False, 91) == (older.applied, older.source_version)

    badge = await producer.badge("alice")
    assert {"dm": 1, "invoices": 7} == {n: c.unread for n, c in badge.by.items()}
    assert badge is await producer.badge("alice", known=badge)

    explanation = await producer.explain("alice")
    assert notified.results[0].item == explanation.counted[0].id
    assert ["gauge", "notify"] == [each.operation for each in explanation.operations]

    only = await producer.badge("alice", categories=["dm", "news"])
    assert (badge.v, 1) == (only.v, only.unread)
    muted = await producer.set_muted("alice", categories=["dm"], topics=["team-7"])
    assert (["dm"], ["team-7"]) == (muted.muted.categories, muted.muted.topics)
    assert 7 == muted.badge.unread
    assert muted.muted == (await producer.preferences("alice")).muted
    assert [] == (await producer.set_muted("alice")).muted.topics

    await producer.change_followers("team-7", add=["alice", "bob"])
    left = await producer.change_followers("team-7", remove=["bob"], check=True)
    assert ["bob"] == [each.user for each in left.results]
    topics = (await producer.topics("alice")).topics
    assert ("now", "producer") == (topics["team-7"].since, topics["team-7"].by)
    sent = await producer.notify(Followers("team-7"), "Demo", source="m", ttl=60)
    assert ("team-7", 1) == (sent.results[0].topic, sent.results[0].v)
    edited = await producer.update(Followers("team-7"), {"body": "b"}, source="m")
    assert [sent.results[0].item] == edited.results[0].updated
    everyone = await producer.notify(ALL_USERS, "Hello")
    assert "all" == everyone.results[0].topic
    lines = await producer.batch([Notification(Followers("other"), "Hi")], check=True)
    assert "other" == lines.lines[0].results[0].topic
    with pytest.raises(PartialFailure, match="followers"):
        await producer.change_followers("team-7", add=["carol", "#"], check=True)
    page = await producer.topic("team-7", limit=1)
    assert (["Demo"], None) == ([item.title for item in page.items], page.next)
    explained = await producer.explain_topic("team-7")
    assert ["update", "notify"] == [each.operation for each in explained.operations]
    assert 1 == (await producer.delete_topic("team-7")).removed
    await producer.change_followers("team-7", remove=["alice"])
    await producer.update(ALL_USERS, {"ttl": 1}, id=everyone.results[0].item)
    await trio.sleep(1.0)

    assert 1 == (await producer.drop_gauge("alice", "invoices")).badge.unread
    later = await producer.notify("alice", "Later", at=START + 60, source="later")
    (scheduled,) = (await producer.items("alice", state="scheduled")).items
    assert (later.results[0].item, START + 60) == (scheduled.id, scheduled.until)
    assert ["Hi"] == [each.title for each in (await producer.items("alice")).items]
    assert 1 == (await producer.retract(source="later")).waiting
    assert ("alice", 0) == astuple(await producer.streams("alice"))
    retracted = await producer.retract(source="s", user="alice")
    assert (1, 1) == (retracted.removed, retracted.users)
    assert 1 == (await producer.retract(key="k", category="dm")).users
    assert 5 == (await producer.ticket("alice", session=5)).expires_in
    assert not (await producer.disconnect("alice")).revoked
    assert 0 == (await producer.delete_user("alice")).v
    assert "ok" == (await producer.live()).status


async def test_every_call_of_a_user(autojump_clock, clients):
    """Each call of a user takes effect, and returns the service's answer."""
    producer, user = clients
    for number in range(3):
        await producer.notify("alice", f"Note {number}", category="dm")

    page = await user.items(limit=2)
    assert ["Note 2", "Note 1"] == [item.title for item in page.items]
    rest = await user.items(limit=2, before=page.next)
    assert ["Note 0"] == [item.title for item in rest.items]
    assert [] == (await user.items(category="other", state="all")).items

    await user.ops(Op(snooze=[page.items[1].id], until=START + 60))
    (snoozed,) = (await user.items(state="snoozed")).items
    assert ("Note 1", START + 60) == (snoozed.title, snoozed.until)
    await user.ops(Op(unsnooze=[snoozed.id]))
    state = await user.ops(Op(read=[page.items[0].id]), Op(seen_upto=5))
    assert (2, 0) == (state.badge.unread, state.badge.unseen)
    again = await user.ops(Op(read_all=True, as_of=state.v), op_id="o")
    assert again == await user.ops(Op(read_all=True, as_of=state.v), op_id="o")
    with pytest.raises(KeyReused):
        await user.ops(Op(seen_upto=1), op_id="o")
    assert 0 == (await user.badge()).unread
    await user.set_muted(categories=["dm"])
    assert ["dm"] == (await user.preferences()).muted.categories
    assert 0 == (await user.badge(categories=["dm"])).unread
    assert 60 == (await user.ticket()).expires_in


async def test_long_poll_returns_the_change(autojump_clock, clients):
    """A held badge is returned at once when it changes, and after its wait."""
    producer, user = clients
    known = await user.badge()
    start = trio.current_time()
    assert known is await user.badge(known=known, wait=60.0)
    assert 60.0 == pytest.approx(trio.current_time() - start)

    async with trio.open_nursery() as nursery:
        nursery.start_soon(producer.notify, "alice", "Hi")
        assert 1 == (await user.badge(known=known, wait=60.0)).unread


async def test_wrong_role_is_rejected_with_the_reason(autojump_clock, clients):
    """A call of the other role is the service's 403."""
    producer, user = clients
    with pytest.raises(CredentialsRejected, match="expected a producer key"):
        await user.notify("alice", "Hi")
    with pytest.raises(CredentialsRejected) as raised:
        await producer.items()

    assert 403 == raised.value.status


async def test_revocation_ends_a_token(autojump_clock, clients):
    """After a revocation the user's calls are rejected."""
    producer, user = clients
    await trio.sleep(2)
    assert (await producer.disconnect("alice", revoke=True)).revoked
    with pytest.raises(CredentialsRejected, match="revoked"):
        await user.badge()


@pytest.mark.parametrize("name", NAMES)
async def test_every_user_name_is_that_user(autojump_clock, clients, name):
    """A name with any character reaches the mailbox of that user."""
    producer, _ = clients
    (result,) = (await producer.notify(name, "Hi", category="dm")).results

    assert name == result.user
    assert 1 == (await producer.badge(name)).unread
    assert 1 == (await producer.retract(key="k", category="dm", user=name)).removed + 1
    await producer.gauge(name, "g", 4, source_version=1)
    assert 5 == (await producer.explain(name)).badge.unread
    assert name == (await producer.delete_user(name)).user


async def test_bad_fields_are_named(autojump_clock, clients):
    """A rejected notification names each field."""
    producer, _ = clients
    with pytest.raises(RequestRejected) as raised:
        await producer.notify("alice", "", category="Bad", ttl=-1)

    assert {"title", "category", "ttl"} == {each.field for each in raised.value.errors}


async def test_batch_has_a_result_for_each_line(autojump_clock, clients):
    """Lines are served in order; a bad one is a problem, and its repeat is no other."""
    producer, _ = clients
    lines = [
        Notification("alice", "One"),
        Notification("alice", ""),
        Notification(["bob", " "], "Two"),
    ]
    response = await producer.batch(lines)

    assert [(1, None, 422), (2, " ", 422)] == [
        (each.number, each.user, each.problem.status) for each in response.problems
    ]
    again = await producer.batch(lines, idempotency_key=response.idempotency_key)
    assert response == again
    assert 1 == (await producer.badge("alice")).unread


async def test_call_whose_response_is_lost_is_done_once(autojump_clock, world):
    """With half of the responses lost, each call has its effect once."""
    transport = LossyTransport(AsgiTransport(world.anonymous))
    bearer = world.service.authenticator.sign("alice", ttl=86_400)
    async with httpx2.AsyncClient(transport=transport) as http:
        producer = AsyncBadgeClient("http://badges.test", key=KEY, client=http)
        user = AsyncBadgeClient("http://badges.test", token=bearer, client=http)
        for number in range(1, 6):
            (result,) = (await producer.notify("alice", "Hi")).results
            assert number == result.v
        batch = await producer.batch([Notification("alice", "Hi")] * 5)
        assert [6, 7, 8, 9, 10] == [line.results[0].v for line in batch.lines]
        assert 11 == (await producer.gauge("alice", "g", 3, source_version=1)).v
        assert 12 == (await user.ops(Op(read_all=True, as_of=8))).v
        assert 13 == (await producer.drop_gauge("alice", "g")).v

        assert (2, 13) == ((badge := await user.badge()).unread, badge.v)
    assert 2 * 10 == transport.requests


@pytest.fixture(scope="module")
def url():
    """Yield the URL of a service on a socket."""
    with started("serve", "--bind", "127.0.0.1:0", env=environment()) as (_, url):
        yield url


@contextmanager
def producer_of(url):
    with BadgeClient(url, key=SECRETS["ROUNDEL_PRODUCER_KEYS"]) as client:
        yield client


@pytest.mark.slow
def test_synchronous_client_over_a_socket(url):
    """The calls of a producer and of a user, over real connections."""
    with producer_of(url) as producer, BadgeClient(url, token=token("sync")) as user:
        producer.notify("sync", "Hi", category="dm")
        page = user.items(state="unread")
        state = user.ops(Op(read=[page.items[0].id]))

        assert 0 == state.badge.unread == producer.badge("sync").unread
        assert state.badge is user.badge(known=state.badge)
        assert 1 == len(producer.explain("sync").not_counted)


@pytest.mark.slow
def test_no_log_line_has_a_secret(url, caplog):
    """The logs of the HTTP library, at their most verbose, have no credential."""
    caplog.set_level(logging.DEBUG)
    bearer = token("logged")
    with producer_of(url) as producer, BadgeClient(url, token=bearer) as user:
        producer.notify("logged", "Hi")
        ticket = user.ticket().ticket

    assert "/v1/tickets" in caplog.text
    for secret in (SECRETS["ROUNDEL_PRODUCER_KEYS"], bearer, ticket):
        assert secret not in caplog.text


@pytest.mark.slow
@pytest.mark.parametrize("name", NAMES)
def test_every_user_name_over_a_socket(url, name):
    """A name with any character reaches that user, also through a real connection."""
    with producer_of(url) as producer:
        producer.notify(name, "Hi")

        assert 1 == producer.badge(name).unread
        assert 1 == producer.explain(name).badge.unread


@pytest.mark.slow
def test_large_batch_over_a_socket(url):
    """A batch of any length is sent, though no result is read before its last line."""
    lines = [Notification(f"user-{n % 700}", "x" * 40) for n in range(4_000)]
    with producer_of(url) as producer:
        response = producer.batch(lines)

        assert [] == response.problems
        assert [each.to for each in lines] == [
            line.results[0].user for line in response.lines
        ]
        assert 6 == producer.badge("user-0").unread


@pytest.mark.slow
@pytest.mark.parametrize("host", ["127.0.0.1", "localhost"])
def test_service_on_this_machine_is_called_without_a_proxy(url, host, monkeypatch):
    """A proxy of the environment cannot reach loopback; a final slash is dropped."""
    monkeypatch.setenv("HTTP_PROXY", "http://127.0.0.1:9")
    monkeypatch.setenv("ALL_PROXY", "http://127.0.0.1:9")
    with producer_of(url.replace("127.0.0.1", host) + "/") as producer:
        assert "ok" == producer.live().status


@pytest.mark.slow
def test_notification_is_done_once_though_the_service_is_killed(tmp_path):
    """Calls that a killed service loses are repeated, and none takes effect twice."""
    settings = environment(ROUNDEL_ENGINE=f"sqlite:{tmp_path}/roundel.db")
    done = Semaphore(0)

    def notify(port):
        with producer_of(f"http://127.0.0.1:{port}") as producer:
            for number in range(60):
                producer.notify("alice", f"Note {number}")
                done.release()

    with reserved_port() as port, ThreadPoolExecutor() as threads:
        notified = threads.submit(notify, port)
        for _ in range(2):
            with started("serve", "--bind", f"127.0.0.1:{port}", env=settings):
                # The process is killed at the end of the block.
                assert all(done.acquire(timeout=SLACK) for _ in range(20))
        with (
            started("serve", "--bind", f"127.0.0.1:{port}", env=settings) as (_, url),
            producer_of(url) as producer,
        ):
            notified.result(SLACK)

            assert 60 == producer.badge("alice").unread


@pytest.mark.slow
@pytest.mark.parametrize("library", [httpx2, httpx], ids=lambda each: each.__name__)
@pytest.mark.parametrize("run", [asyncio.run, trio.run], ids=["asyncio", "trio"])
def test_asynchronous_client_over_a_socket(url, library, run):
    """The calls over real connections, on both loops and with both libraries."""
    user = f"{library.__name__}-{run.__module__}"

    async def main():
        key = SECRETS["ROUNDEL_PRODUCER_KEYS"]
        async with library.AsyncClient() as http:
            client = AsyncBadgeClient(url, key=key, client=http)
            await client.batch([Notification(user, f"Note {n}") for n in range(30)])
            known = await client.badge(user)
            assert known is await client.badge(user, known=known, wait=0.05)
        async with AsyncBadgeClient(url, key=key) as client:
            return await client.badge(user)

    badge = trio.run(main) if run is trio.run else asyncio.run(main())
    assert 30 == badge.unread


@pytest.mark.slow
def test_service_that_starts_late_is_waited_for():
    """A restart of the service delays a call, which is done once."""
    responses = []

    def notify(port):
        with producer_of(f"http://127.0.0.1:{port}") as producer:
            responses.append(producer.notify("alice", "Hi"))

    with reserved_port() as port:
        thread = Thread(target=notify, args=[port])
        thread.start()
        with (
            started("serve", "--bind", f"127.0.0.1:{port}") as (_, url),
            producer_of(url) as producer,
        ):
            thread.join(SLACK)

            assert "alice" == responses[0].results[0].user
            assert 1 == producer.badge("alice").unread
