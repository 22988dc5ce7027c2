"""Repetitions of a call: what is repeated, when, and for how long."""

from __future__ import annotations

import json
import socket
import ssl
import time
from email.utils import formatdate

import pytest

from roundel_service.client import (
    BadgeDocument,
    Notification,
    Op,
    RateLimited,
    RequestRejected,
    ServiceFailed,
    ServiceUnreachable,
    UnexpectedResponse,
)
from support.badge_clients import (
    BADGE,
    KINDS,
    NOTIFIED,
    RESULT,
    TOKEN,
    VIRTUAL,
    answer,
    perform,
    problem,
    problem_document,
)

every_kind = pytest.mark.parametrize("kind", KINDS, ids=str)
every_virtual_kind = pytest.mark.parametrize("kind", VIRTUAL, ids=str)
DONE = answer(NOTIFIED)
DISCONNECTED = answer({"user": "alice", "revoked": True})


def notify(client):
    return client.notify("alice", "Hello")


def revoke(client):
    return client.disconnect("alice", revoke=True)


@every_kind
@pytest.mark.parametrize(
    "failure",
    [
        problem(429),
        problem(503),
        (502, {"content-type": "text/html"}, b"<h1>Bad Gateway</h1>"),
        (504, {}, b""),
        "ConnectError",
        "ConnectTimeout",
        "ReadError",
        "ReadTimeout",
        "WriteError",
        "RemoteProtocolError",
    ],
    ids=lambda step: step if isinstance(step, str) else str(step[0]),
)
def test_failed_notification_is_repeated_with_its_key(kind, failure):
    """A failure that may pass is repeated, with the same key and the same body."""
    run = perform(kind, [failure, failure, DONE], notify)

    assert [RESULT["item"]] == [each.item for each in run.result.results]
    keys = [request.headers["idempotency-key"] for request in run.requests]
    assert 3 == len(keys)
    assert 1 == len(set(keys))
    assert 1 == len({request.content for request in run.requests})


def test_each_call_has_a_key_of_its_own():
    """Two equal notifications are two: their keys differ."""
    runs = [perform(KINDS[0], [DONE], notify) for _ in range(2)]
    keys = {run.requests[0].headers["idempotency-key"] for run in runs}

    assert 2 == len(keys)


@every_kind
@pytest.mark.parametrize("status", [400, 401, 403, 409, 413, 415, 422, 500])
def test_final_answer_is_not_repeated(kind, status):
    """A problem of the request is raised after one request."""
    run = perform(kind, [problem(status)], notify)

    assert status == run.error.status
    assert 1 == len(run.requests) == run.error.attempts


@every_kind
@pytest.mark.parametrize(
    "reason",
    [
        ssl.SSLCertVerificationError("self-signed certificate"),
        socket.gaierror(socket.EAI_NONAME, "Name or service not known"),
    ],
    ids=["certificate", "name"],
)
def test_wrong_peer_is_not_tried_again(kind, reason):
    """A wrong certificate and an unknown host name stay what they are."""
    run = perform(kind, [reason], notify)

    assert isinstance(run.error, ServiceUnreachable)
    assert 1 == len(run.requests)


REPEATABLE = {
    "update": (
        lambda c: c.update("alice", {"title": "t"}, source="s"),
        {
            "results": [
                {
                    "user": "alice", "updated": [], "v": 1, "epoch": "e",
                    "badge": {"unread": 1, "unseen": 1, "more": False},
                }
            ]
        },
    ),
    "retract": (
        lambda c: c.retract(source="s"),
        {"removed": 0, "users": 0, "topics": 0, "waiting": 0},
    ),
    "badge": (lambda c: c.badge("alice"), BADGE),
    "gauge": (
        lambda c: c.gauge("alice", "dm", 1, source_version=1),
        {"applied": True, "source_version": 1, "epoch": "e", "v": 1, "badge": BADGE},
    ),
    "drop_gauge": (
        lambda c: c.drop_gauge("alice", "dm"),
        {"epoch": "e", "v": 1, "badge": BADGE},
    ),
    "ops": (
        lambda c: c.ops(Op(read=["i"])),
        {"epoch": "e", "v": 1, "badge": BADGE},
    ),
    "items": (
        lambda c: c.items(),
        {"cursor": "e.1", "badge": BADGE, "items": [], "next": None},
    ),
    "ticket": (lambda c: c.ticket(), {"ticket": "t", "expires_in": 60, "url": "/x"}),
    "explain": (
        lambda c: c.explain("alice"),
        {"badge": BADGE, "counted": [], "not_counted": [], "gauges": [],
         "waiting": [], "topics": [], "operations": []},
    ),
    "disconnect": (
        lambda c: c.disconnect("alice"), {"user": "alice", "revoked": False}
    ),
    "disconnect before": (
        lambda c: c.disconnect("alice", revoke=True, issued_before=1.0),
        {"user": "alice", "revoked": True},
    ),
    "delete_user": (
        lambda c: c.delete_user("alice"),
        {"user": "alice", "epoch": "e", "v": 0, "badge": BADGE},
    ),
    "live": (lambda c: c.live(), {"status": "ok"}),
}  # fmt: skip


@pytest.mark.parametrize("kind", KINDS[:3], ids=str)
@pytest.mark.parametrize("name", REPEATABLE)
def test_call_without_a_second_effect_is_repeated(kind, name):
    """A call without a second effect is repeated after its response was lost."""
    call, document = REPEATABLE[name]
    run = perform(kind, ["ReadError", answer(document)], call)

    assert run.error is None
    assert 2 == len(run.requests)
    assert 1 == len({request.content for request in run.requests})


@every_kind
@pytest.mark.parametrize("failure", ["ReadError", problem(503), (502, {}, b"")])
def test_revocation_is_not_repeated_after_it_may_have_had_its_effect(kind, failure):
    """A second revocation would revoke a login made since the first."""
    run = perform(kind, [failure, DISCONNECTED], revoke)

    assert 1 == len(run.requests)
    assert run.error.may_have_effect


@every_kind
@pytest.mark.parametrize(
    "failure", ["ConnectError", "ConnectTimeout", "PoolTimeout", problem(429)]
)
def test_revocation_that_had_no_effect_is_repeated(kind, failure):
    """A refused connection and a rate limit come before any effect."""
    run = perform(kind, [failure, DISCONNECTED], revoke)

    assert run.result.revoked
    assert 2 == len(run.requests)


@every_virtual_kind
def test_retry_after_is_obeyed(kind):
    """The next request comes not before `Retry-After`."""
    run = perform(kind, [problem(429, retry_after="7"), DONE], notify, drawn=0.5)

    assert [0.0, pytest.approx(7.1)] == run.times


@every_virtual_kind
def test_date_of_retry_after_needs_no_date_of_the_response(kind):
    """A proxy may send a date to wait for, and none of its own."""
    date = formatdate(time.time() + 8.0, usegmt=True)
    run = perform(kind, [problem(503, retry_after=date), DONE], notify)

    assert 6.0 <= run.times[1] <= 8.0


@every_virtual_kind
def test_retry_after_beyond_the_time_limit_is_raised_at_once(kind):
    """A wait that the call has no time for ends it, and the error has the wait."""
    run = perform(kind, [problem(429, retry_after="60")], notify)

    assert isinstance(run.error, RateLimited)
    assert 60.0 == run.error.retry_after
    assert 0.0 == run.elapsed


@every_virtual_kind
def test_delays_double_up_to_a_bound(kind):
    """The longest random delay doubles from 0.2 s up to 5 s."""
    run = perform(kind, [problem(503)], notify, drawn=1.0)
    delays = [b - a for a, b in zip(run.times, run.times[1:], strict=False)]

    expected = [0.2, 0.4, 0.8, 1.6, 3.2, 5.0, 5.0, 5.0, 5.0]
    assert expected == pytest.approx(delays)


@every_virtual_kind
@pytest.mark.parametrize(
    ("failure", "kind_of_error"),
    [
        (problem(503), ServiceFailed),
        ("ReadError", ServiceUnreachable),
        ((502, {"content-type": "text/html"}, b"x"), UnexpectedResponse),
        (1_000.0, ServiceUnreachable),
    ],
    ids=["503", "lost", "502", "hangs"],
)
def test_call_ends_in_time_with_the_last_error(kind, failure, kind_of_error):
    """A call takes at most its timeout; the error says how often it was tried."""
    run = perform(kind, [failure], notify, drawn=1.0)

    assert isinstance(run.error, kind_of_error)
    assert run.elapsed <= 30.001
    assert len(run.requests) == run.error.attempts > 1
    assert f"({run.error.attempts} requests in {run.error.elapsed:.1f} s)" in str(
        run.error
    )
    assert run.error.idempotency_key == run.requests[0].headers["idempotency-key"]


@every_virtual_kind
def test_timeout_of_a_call_replaces_that_of_the_client(kind):
    """A call may be given less time than the others."""
    run = perform(kind, [1_000.0], lambda c: c.notify("alice", "x", timeout=2.0))

    assert 2.0 == pytest.approx(run.elapsed, abs=0.01)


@every_virtual_kind
def test_hanging_request_is_lost_after_ten_seconds(kind):
    """A service that does not answer leaves time for another request."""
    run = perform(kind, [1_000.0, DONE], notify)

    assert run.error is None
    assert [0.0, pytest.approx(10.0)] == run.times


@every_kind
def test_no_repetitions(kind):
    """With `max_retries=0` the first failure is raised."""
    run = perform(kind, [problem(503), DONE], notify, options={"max_retries": 0})

    assert isinstance(run.error, ServiceFailed)
    assert 1 == len(run.requests)


@every_virtual_kind
def test_long_poll_has_its_time_on_top(kind):
    """A held response is not lost: the wait is added to the timeouts."""
    known = BadgeDocument("e", 1, 1, 1, False, {})
    not_modified = (304, {"etag": '"e.1"'}, b"")
    run = perform(
        kind, [39.0, not_modified], lambda c: c.badge(known=known, wait=30.0),
        credential={"token": TOKEN},
    )  # fmt: skip

    assert run.result is known
    assert '"e.1"' == run.requests[0].headers["if-none-match"]
    assert b"/prefix/v1/badge?wait=30.0" == run.requests[0].url.raw_path


@every_kind
def test_recipient_that_the_store_failed_is_repeated(kind):
    """A recipient with a problem of the store gets the notification later."""
    failed = {"user": "bob", "problem": problem_document(503, "engine-unavailable")}
    partly = answer({"results": [RESULT, failed]})
    done = answer({"results": [RESULT, {**RESULT, "user": "bob"}]})
    run = perform(kind, [partly, done], lambda c: c.notify(["alice", "bob"], "x"))

    assert [] == run.result.problems
    assert 2 == len(run.requests)


@every_virtual_kind
def test_recipient_that_stays_without_is_a_problem_of_the_result(kind):
    """At the end of its time the call returns what it has."""
    failed = {"user": "bob", "problem": problem_document(503, "engine-unavailable")}
    run = perform(
        kind,
        [answer({"results": [RESULT, failed]})],
        lambda c: c.notify(["alice", "bob"], "x"),
        drawn=1.0,
    )

    assert ["bob"] == [each.user for each in run.result.problems]
    assert run.elapsed <= 30.0


@every_kind
def test_problem_of_a_bad_name_is_not_repeated(kind):
    """Only problems of the store pass."""
    failed = {"user": " ", "problem": problem_document(422, "invalid-request")}
    run = perform(
        kind,
        [answer({"results": [RESULT, failed]})],
        lambda c: c.notify(["alice", " "], "x"),
    )

    assert 1 == len(run.result.problems) == len(run.requests)


LINE = {"results": [RESULT]}
NOTE = Notification("alice", "x" * 1_000)


@every_kind
def test_batch_is_split_into_requests_with_keys_of_their_own(kind):
    """A long batch takes several requests, in order, of at most 64 KiB."""
    line = len(json.dumps(NOTE.document()).encode())
    count = 1 + (1 << 16) // line
    run = perform(
        kind,
        [answer([LINE] * (count - 1)), "ReadError", answer([LINE])],
        lambda c: c.batch([NOTE] * count, idempotency_key="k"),
    )

    assert count == len(run.result.lines)
    keys = [request.headers["idempotency-key"] for request in run.requests]
    assert ["k-0", "k-1", "k-1"] == keys
    assert all(len(request.content) <= 1 << 16 for request in run.requests)


@every_kind
def test_interrupted_batch_has_the_results_so_far_and_its_key(kind):
    """The error of a batch has all that a later call needs."""
    run = perform(
        kind,
        [answer([LINE] * 63), problem(422)],
        lambda c: c.batch([NOTE] * 64),
    )

    assert isinstance(run.error, RequestRejected)
    assert 63 == len(run.error.lines)
    first = run.requests[0].headers["idempotency-key"]
    assert f"{run.error.idempotency_key}-0" == first


@every_kind
@pytest.mark.parametrize("end", ["read", "encode"])
def test_batch_that_cannot_be_read_says_how_to_go_on(kind, end):
    """The error of a notification itself names the key, and what is done."""

    def notifications():
        yield from [NOTE] * 64
        if end == "read":
            raise KeyError("the database is away")
        yield Notification("alice", "x", data=object())

    run = perform(kind, [answer([LINE] * 63)], lambda c: c.batch(notifications()))

    assert isinstance(run.error, {"read": KeyError, "encode": ValueError}[end])
    key = run.requests[0].headers["idempotency-key"].removesuffix("-0")
    lines = "63 lines of the batch are done"
    expected = f"{lines}; send it again with idempotency_key={key!r}"
    assert [expected] == run.error.__notes__


@every_kind
def test_batch_with_a_result_too_few_is_an_error(kind):
    """A service answers each line; anything else is not hidden."""
    run = perform(kind, [answer([LINE])], lambda c: c.batch([NOTE] * 2))

    assert isinstance(run.error, UnexpectedResponse)
    assert "expected 2 lines, got 1" in str(run.error)


@every_kind
def test_empty_batch_sends_nothing(kind):
    """A batch without notifications needs no request."""
    run = perform(kind, [DONE], lambda c: c.batch([]))

    assert [] == run.result.lines == run.requests


@every_kind
def test_line_that_the_store_failed_is_repeated(kind):
    """A request of a batch is repeated while a line has a problem of the store."""
    failed = problem_document(503, "engine-unavailable")
    run = perform(
        kind, [answer([LINE, failed]), answer([LINE, LINE])],
        lambda c: c.batch([NOTE] * 2),
    )  # fmt: skip

    assert [] == run.result.problems
    assert 2 == len(run.requests)
