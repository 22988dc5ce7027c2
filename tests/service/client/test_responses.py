"""What the clients make of responses, and what they never give away."""

from __future__ import annotations

import json
import pickle
import traceback

import httpx2
import pytest

from roundel_service.client import (
    BadgeClient,
    CredentialsRejected,
    KeyReused,
    Notification,
    PartialFailure,
    RateLimited,
    RequestRejected,
    ServiceFailed,
    ServiceUnreachable,
    TicketResponse,
    UnexpectedResponse,
)
from support.badge_clients import (
    BADGE,
    KEY,
    KINDS,
    NOTIFIED,
    PROBLEM,
    RESULT,
    TOKEN,
    URL,
    VirtualClock,
    answer,
    perform,
    problem,
    problem_document,
)

every_kind = pytest.mark.parametrize("kind", KINDS, ids=str)


def notify(client):
    return client.notify("alice", "Hello")


@every_kind
def test_credential_and_address_of_a_request(kind):
    """The key is a bearer token, and the path of the URL is kept."""
    run = perform(kind, [answer(NOTIFIED)], notify)
    (request,) = run.requests

    assert f"Bearer {KEY}" == request.headers["authorization"]
    assert f"{URL}/v1/notify" == str(request.url)
    assert "application/json" == request.headers["content-type"]


@pytest.mark.parametrize(
    ("url", "called"),
    [
        ("http://badges.test", "http://badges.test/livez"),
        ("https://badges.test:8443/", "https://badges.test:8443/livez"),
        ("https://badges.test/a/b//", "https://badges.test/a/b/livez"),
        ("http://[::1]:8080", "http://[::1]:8080/livez"),
        ("http://[fe80::1]/x", "http://[fe80::1]/x/livez"),
    ],
)
def test_path_of_a_call_follows_that_of_the_url(url, called):
    """A service may be behind a path, and at an IPv6 address."""
    requests = []

    def handle(request):
        requests.append(str(request.url))
        return httpx2.Response(200, json={"status": "ok"})

    with httpx2.Client(transport=httpx2.MockTransport(handle)) as http:
        BadgeClient(url, key=KEY, client=http).live()

    assert [called] == requests


@every_kind
def test_credential_may_be_made_for_each_request(kind):
    """A token that expires is renewed, also between two attempts."""
    tokens = iter(["first", "second"])
    run = perform(
        kind,
        [problem(503), answer(BADGE)],
        lambda client: client.badge(),
        credential={"token": lambda: next(tokens)},
    )

    sent = [request.headers["authorization"] for request in run.requests]
    assert ["Bearer first", "Bearer second"] == sent


@every_kind
def test_credential_of_the_http_client_does_not_replace_the_own(kind):
    """The caller's HTTP client may have other credentials; a request has ours."""
    run = perform(kind, [answer(NOTIFIED)], notify, auth=("a", "b"), headers={"X": "y"})

    assert f"Bearer {KEY}" == run.requests[0].headers["authorization"]
    assert "y" == run.requests[0].headers["x"]


@pytest.mark.parametrize(
    ("status", "kind"),
    [
        (400, RequestRejected),
        (401, CredentialsRejected),
        (403, CredentialsRejected),
        (409, KeyReused),
        (413, RequestRejected),
        (422, RequestRejected),
        (429, RateLimited),
        (500, ServiceFailed),
        (503, ServiceFailed),
    ],
)
def test_class_of_a_problem_follows_from_its_status(status, kind):
    """A caller catches what it can handle."""
    run = perform(KINDS[0], [problem(status, "x")], notify, options={"max_retries": 0})

    assert kind is type(run.error)


def test_problem_has_the_fields_of_its_document():
    """The error names what was wrong, field by field."""
    document = {**problem_document(422, "invalid-request"), "extra": 1}
    document["errors"] = [{"field": "ttl", "detail": "is 0", "extra": 1}]
    run = perform(KINDS[0], [answer(document, 422, PROBLEM)], notify)
    error = run.error

    assert (422, "invalid-request", "it is away") == (
        error.status,
        error.name,
        error.detail,
    )
    assert [("ttl", "is 0")] == [(each.field, each.detail) for each in error.errors]
    assert "POST /v1/notify: 422 invalid-request: it is away" == str(error)


@every_kind
def test_unknown_fields_of_a_newer_service_are_ignored(kind):
    """A response may have more fields at each level, and new values."""
    badge = {**BADGE, "new": 1, "by": {"dm": {"unread": 1, "unseen": 1, "new": 2}}}
    item = {
        "id": "i",
        "seq": 1,
        "category": "dm",
        "key": None,
        "source": None,
        "topic": None,
        "seen": True,
        "expires_at": None,
        "reason": "snoozed",
        "new": 3,
    }
    steps = [{"add": "i", "new": 1}, {"merge": {}}, {"remove": ["i"], "reason": "new"}]
    operation = {
        "v": 1,
        "at": 1.0,
        "by": "system",
        "operation": "new",
        "unread": 1,
        "steps": steps,
        "new": 4,
    }
    lists = {name: [] for name in ("counted", "gauges", "waiting", "topics")}
    document = {"badge": badge, "not_counted": [item], "operations": [operation]}
    document |= {**lists, "new": 5}
    run = perform(kind, [answer(document)], lambda client: client.explain("alice"))

    assert run.error is None
    assert "snoozed" == run.result.not_counted[0].reason
    first, second = run.result.operations[0].steps
    assert ("i", ["i"]) == (first.add, second.remove)


@pytest.mark.parametrize(
    ("status", "media_type", "content"),
    [
        (200, "text/html", b"<title>Welcome</title>"),
        (200, "application/json", b"[]"),
        (200, "application/json", b'{"results": [{"user": 1}]}'),
        (200, "application/json", b"\xff"),
        (200, "application/json", b"[" * 100_000),
        (200, "application/json", b'{"results": ' + b"[" * 10_000 + b"]" * 10_000),
        (204, "", b""),
        (302, "text/html", b""),
        (304, "", b""),
        (404, "text/html", b"Not found"),
        (422, PROBLEM, b"not JSON"),
        (422, PROBLEM, b'{"title": 7}'),
        (422, PROBLEM, b'{"x": ' + b"[" * 10_000 + b"]" * 10_000 + b"}"),
    ],
)
def test_response_of_another_server_is_an_error(status, media_type, content):
    """A response that is not of the API is an error with its status."""
    run = perform(KINDS[0], [(status, {"content-type": media_type}, content)], notify)

    assert isinstance(run.error, UnexpectedResponse)
    assert status == run.error.status
    assert 1 == len(run.requests)


@every_kind
@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
def test_redirect_is_not_followed(kind, status):
    """No credential reaches another server, whatever the HTTP client is set to."""
    redirect = status, {"location": "https://evil.test/v1/notify"}, b""
    run = perform(kind, [redirect, answer(NOTIFIED)], notify, follow_redirects=True)

    assert isinstance(run.error, UnexpectedResponse)
    assert [URL + "/v1/notify"] == [str(request.url) for request in run.requests]
    assert "https://evil.test/v1/notify" in str(run.error)


@every_kind
@pytest.mark.parametrize("credential", [{"key": KEY}, {"token": TOKEN}])
@pytest.mark.parametrize("step", ["ReadError", problem(401), answer({})])
def test_no_error_has_the_credential(kind, credential, step):
    """Neither the text of an error nor its traceback has a secret."""
    run = perform(
        kind, [step], notify, credential=credential, options={"max_retries": 0}
    )
    text = "".join(traceback.format_exception(run.error)) + repr(run.error)

    assert KEY not in text
    assert TOKEN not in text


@pytest.mark.parametrize(
    "step",
    [
        "ReadError",
        problem(409),
        problem(503),
        (502, {"content-type": "text/html"}, b""),
    ],
    ids=["unreachable", "problem", "failed", "unexpected"],
)
def test_error_can_be_pickled(step):
    """A job queue or a process pool copies an error, with all that it knows."""
    run = perform(KINDS[0], [step], notify, options={"max_retries": 1})
    copy = pickle.loads(pickle.dumps(run.error))

    assert (type(run.error), str(run.error)) == (type(copy), str(copy))
    assert vars(run.error) == vars(copy)


def test_no_repr_has_a_secret():
    """A client and a ticket may be logged."""
    with BadgeClient(URL, key=KEY) as client:
        text = repr(client) + str(client)
    ticket = TicketResponse("secret-ticket", 60, "/v1/stream?ticket=secret-ticket")

    assert KEY not in text
    assert URL in text
    assert "secret" not in repr(ticket) + str(ticket) + str([ticket])


@pytest.mark.parametrize(
    "url",
    [
        *("", "127.0.0.1:8080", "ftp://x", "http://", "http://x:y", "http://[::1"),
        *(
            "http://u:hidden@x",
            "http://x?y=1",
            "http://x#y",
            "http://x\ny",
            "http://a b",
        ),
    ],
)
def test_url_that_is_none_of_a_service_is_a_value_error(url):
    """A wrong URL is noticed at once, and its password is not repeated."""
    with pytest.raises(ValueError, match="expected a URL like") as raised:
        BadgeClient(url, key=KEY)

    assert "hidden" not in str(raised.value)


@pytest.mark.parametrize(
    "credential",
    [
        {},
        {"key": KEY, "token": TOKEN},
        {"key": ""},
        {"key": "hidden\nx"},
        {"token": "hidden é"},
    ],
)
def test_credential_that_cannot_be_sent_is_a_value_error(credential):
    """A client has one credential, and no message has its text."""
    with pytest.raises(ValueError, match="expected") as raised:
        BadgeClient(URL, **credential)

    assert "hidden" not in str(raised.value)


def test_line_end_of_a_key_file_is_dropped():
    """The service drops the line end of a file with secrets, and so does the client."""
    run = perform(
        KINDS[0], [answer(NOTIFIED)], notify, credential={"key": f"{KEY}\r\n"}
    )

    assert f"Bearer {KEY}" == run.requests[0].headers["authorization"]


@every_kind
def test_partial_failure_raises_if_asked(kind):
    """With `check=True` a recipient that was not served is an error."""
    failed = {"user": " ", "problem": problem_document(422, "invalid-request")}
    document = {"results": [RESULT, failed]}
    run = perform(
        kind,
        [answer(document)],
        lambda client: client.notify(["alice", " "], "x", check=True),
    )

    assert isinstance(run.error, PartialFailure)
    assert [422] == [each.status for each in run.error.problems]
    assert "1 not served" in str(run.error)


@every_kind
def test_batch_raises_at_its_end_if_asked(kind):
    """The problems of all lines are raised together, and the results are kept."""
    failed = {"user": " ", "problem": problem_document(422, "invalid-request")}
    lines = [{"results": [RESULT]}, problem_document(413, "too-large"),
             {"results": [failed]}]  # fmt: skip
    run = perform(
        kind,
        [answer(lines)],
        lambda client: client.batch([Notification("alice", "x")] * 3, check=True),
    )

    assert [413, 422] == [each.status for each in run.error.problems]
    assert 3 == len(run.error.lines)
    unchecked = perform(
        kind,
        [answer(lines)],
        lambda client: client.batch([Notification("alice", "x")] * 3),
    )
    assert [(1, None), (2, " ")] == [
        (each.number, each.user) for each in unchecked.result.problems
    ]


@pytest.mark.parametrize("kind", [kind for kind in KINDS if not kind.loop], ids=str)
def test_endless_response_is_cut(kind):
    """A response that drips without an end is lost at the time limit."""
    clock = VirtualClock()

    class Drip(kind.library.SyncByteStream):
        def __iter__(self):
            while True:
                clock.now += 4.0
                yield b" "

    def handle(request):
        head = {"content-type": "application/json"}
        return kind.library.Response(200, headers=head, stream=Drip())

    with kind.library.Client(transport=kind.library.MockTransport(handle)) as http:
        client = BadgeClient(URL, key=KEY, client=http, clock=clock, sleep=clock.sleep)
        with pytest.raises(ServiceUnreachable, match="no response within"):
            client.badge("alice")

    assert clock.now - 100.0 <= 30.0 + 2 * 4.0


def test_hook_of_the_http_client_may_raise_for_a_status():
    """`raise_for_status()` as a hook changes nothing: the problem is reported."""

    def hook(response):
        response.read()
        response.raise_for_status()

    run = perform(
        KINDS[0], [problem(409, "x")], notify, event_hooks={"response": [hook]}
    )

    assert isinstance(run.error, KeyReused)


def test_error_of_the_caller_is_not_hidden():
    """An error of the caller's own function is raised as it is."""
    token = {"token": lambda: {}["missing"]}
    run = perform(KINDS[0], [answer(BADGE)], lambda c: c.badge(), credential=token)

    assert isinstance(run.error, KeyError)


def test_content_is_that_of_the_call():
    """A body is compact JSON in UTF-8."""
    run = perform(
        KINDS[0],
        [answer(NOTIFIED)],
        lambda client: client.notify("élise", "Hi", data={"n": 1}, category="dm"),
    )

    assert {
        "to": {"user": "élise"},
        "title": "Hi",
        "category": "dm",
        "data": {"n": 1},
    } == json.loads(run.requests[0].content)
