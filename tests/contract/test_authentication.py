"""Authentication and authorization of each route.

`tests/service/identity/` has the cases of each kind of credential.
"""

from __future__ import annotations

import io
import logging
from urllib.parse import quote

import pytest
from joserfc import jwt
from joserfc.jwk import ECKey
from structlog.testing import capture_logs

from roundel_adapters.testing import AsgiClient
from roundel_service import app
from roundel_service.settings import load
from support.service import (
    KEY,
    SECRET,
    body,
    data,
    first_events,
    post,
    remaining_events,
)

PRODUCER_CALLS = {
    "notify": ("POST", "/v1/notify"),
    "batch": ("POST", "/v1/batch"),
    "retract": ("DELETE", "/v1/items?source=s"),
    "set-gauge": ("PUT", "/v1/users/alice/gauges/c"),
    "drop-gauge": ("DELETE", "/v1/users/alice/gauges/c"),
    "badge-of-user": ("GET", "/v1/users/alice/badge"),
    "explain": ("GET", "/v1/users/alice/explain"),
    "disconnect": ("POST", "/v1/users/alice/disconnect"),
    "forget": ("DELETE", "/v1/users/alice"),
}
USER_CALLS = {
    "badge": ("GET", "/v1/badge"),
    "items": ("GET", "/v1/items"),
    "ops": ("POST", "/v1/ops"),
    "stream": ("GET", "/v1/stream"),
}
BOTH = {"tickets": ("POST", "/v1/tickets")}
ALL = {**PRODUCER_CALLS, **USER_CALLS, **BOTH}


def _bearer(world, credential):
    return world.anonymous.with_headers({"Authorization": f"Bearer {credential}"})


# Roles


@pytest.mark.parametrize(("method", "target"), ALL.values(), ids=ALL)
async def test_anonymous_request_is_401(autojump_clock, world, method, target):
    """Each route requires authentication, before other checks."""
    response = await world.anonymous.request(method, target)

    assert body(response, 401)["type"] == "urn:roundel:problem:unauthorized"
    assert response.headers["www-authenticate"] == "Bearer"


@pytest.mark.parametrize(("method", "target"), PRODUCER_CALLS.values())
async def test_producer_route_with_a_token_is_403(
    autojump_clock, world, method, target
):
    """A user cannot use a producer's route, not even for its own mailbox."""
    response = await world.user().request(method, target, body=b"?")

    assert body(response, 403)["type"] == "urn:roundel:problem:forbidden"


@pytest.mark.parametrize(("method", "target"), USER_CALLS.values(), ids=USER_CALLS)
async def test_user_route_with_a_producer_key_is_403(
    autojump_clock, world, method, target
):
    """A producer key does not identify a user."""
    response = await world.producer.request(method, target)

    assert body(response, 403)["type"] == "urn:roundel:problem:forbidden"


async def test_user_sees_only_its_own_mailbox(autojump_clock, world):
    """A token identifies only the user in its `sub`."""
    await world.notify("alice")

    assert (1, 0) == (
        (await world.badge("alice"))["unread"],
        (await world.badge("bob"))["unread"],
    )


# Tokens of users


@pytest.mark.parametrize("how", ["Authorization", "Cookie"])
async def test_token_is_accepted_in_header_and_cookie(autojump_clock, world, how):
    """A browser's `EventSource` sends no header, but its cookie."""
    token = world.service.authenticator.sign("alice", ttl=60)
    field = f"Bearer {token}" if how == "Authorization" else f"a=b; roundel={token}"
    client = world.anonymous.with_headers({how: field})

    assert 200 == (await client.request("GET", "/v1/badge")).status
    async with client.stream("/v1/stream") as stream:
        assert "hello" == (await stream.next_event()).type


async def test_audience_and_issuer_are_those_of_the_settings(
    autojump_clock, make_world
):
    """A token for another service is invalid once the settings name an audience."""
    foreign = make_world().service.authenticator.sign("alice", ttl=60)
    world = make_world(jwt_audience="roundel", jwt_issuer="https://issuer.test")

    assert 200 == (await world.user().request("GET", "/v1/badge")).status
    assert 401 == (await _bearer(world, foreign).request("GET", "/v1/badge")).status


async def test_expired_token_is_401(autojump_clock, world):
    """A token is invalid from its expiry on."""
    alice = world.user(ttl=60)
    good = await alice.request("GET", "/v1/badge")
    autojump_clock.jump(60)
    late = await alice.request("GET", "/v1/badge")

    assert (200, 401) == (good.status, late.status)
    assert body(late, 401)["type"] == "urn:roundel:problem:unauthorized"


async def test_token_before_a_key_is_loaded_is_503(autojump_clock):
    """The service cannot judge the token yet; a stream gets a time to reconnect."""
    flags = {"engine": "memory", "producer_keys": KEY, "jwks": "/no/such/file"}
    client = AsgiClient(app.build(load(flags, {})).app)
    token = jwt.encode({"alg": "ES256"}, {"sub": "alice"}, ECKey.generate_key())
    alice = client.with_headers({"Authorization": f"Bearer {token}"})
    response = await alice.request("GET", "/v1/badge")
    async with alice.stream("/v1/stream") as stream:
        events = await remaining_events(stream)

    assert body(response, 503)["type"] == "urn:roundel:problem:keys-unavailable"
    assert "5" == response.headers["retry-after"]
    assert (200, ["bye"]) == (stream.status, [event.type for event in events])
    assert 1_000 <= stream.retry


# Several credentials


def _both(authorization, cookie):
    return {"Authorization": f"Bearer {authorization}", "Cookie": f"roundel={cookie}"}


def _basic(cookie):
    return {"Authorization": "Basic dXNlcjpwdw==", "Cookie": cookie}


# The fields of a request with tokens of alice (two), bob, and an expired one of alice.
SEVERAL = {
    "bad-cookie": (lambda a, *_: _both(a, "nonsense"), 200),
    "not-ascii-cookie": (lambda a, *_: _both(a, "\xe9"), 200),
    "cookie-of-another": (lambda a, _, bob, __: _both(a, bob), 200),
    "expired-bearer": (lambda a, _, __, old: _both(old, a), 401),
    "bearer-without-token": (
        lambda a, *_: {"Authorization": "Bearer", "Cookie": f"roundel={a}"},
        401,
    ),
    "bearer-after-a-tab": (
        lambda a, *_: {"Authorization": "bearer\tnull", "Cookie": f"roundel={a}"},
        401,
    ),
    "basic": (lambda a, *_: _basic(f"roundel={a}"), 200),
    "basic-alone": (lambda *_: _basic("a=b"), 401),
    "basic-and-bearer": (
        lambda a, *_: {"Authorization": ["Basic dXNlcjpwdw==", f"Bearer {a}"]},
        200,
    ),
    "negotiate": (
        lambda a, *_: {"Authorization": "Negotiate YII=", "Cookie": f"roundel={a}"},
        200,
    ),
    "empty-authorization": (
        lambda a, *_: {"Authorization": "", "Cookie": f"roundel={a}"},
        200,
    ),
    "two-bearers": (lambda a, *_: {"Authorization": [f"Bearer {a}"] * 2}, 401),
    "bad-bearer": (lambda a, *_: {"Authorization": [f"Bearer {a}", "Bearer x"]}, 401),
    "equal-cookies": (lambda a, *_: {"Cookie": f"roundel={a}; roundel={a}"}, 200),
    "equal-cookies-quoted": (
        lambda a, *_: {"Cookie": f'roundel={a}; x=1; roundel="{a}"'},
        200,
    ),
    "cookies-of-one-user": (
        lambda a, other, *_: {"Cookie": f"roundel={a}; roundel={other}"},
        200,
    ),
    "cookie-and-expired": (
        lambda a, _, __, old: {"Cookie": f"roundel={old}; roundel={a}"},
        200,
    ),
    "cookie-and-nonsense": (
        lambda a, *_: {"Cookie": [f"roundel={a}", "roundel=nonsense"]},
        200,
    ),
    "cookie-and-empty": (lambda a, *_: {"Cookie": f"roundel=; roundel={a}"}, 200),
    "cookies-of-two-users": (
        lambda a, _, bob, __: {"Cookie": f"roundel={a}; roundel={bob}"},
        401,
    ),
    "bad-cookies": (
        lambda _, __, ___, old: {"Cookie": f"roundel={old}; roundel="},
        401,
    ),
    "eight-cookies": (
        lambda a, *_: {
            "Cookie": f"roundel={a}" + "".join(map("; roundel={}".format, range(7)))
        },
        200,
    ),
    "nine-cookies": (
        lambda a, *_: {
            "Cookie": f"roundel={a}" + "".join(map("; roundel={}".format, range(8)))
        },
        401,
    ),
}


@pytest.mark.parametrize(("fields", "status"), SEVERAL.values(), ids=SEVERAL)
async def test_most_explicit_credential_decides(autojump_clock, world, fields, status):
    """A bearer token comes before a cookie, which is then not looked at."""
    sign = world.service.authenticator.sign
    expired = sign("alice", ttl=1)
    autojump_clock.jump(2)
    tokens = sign("alice", ttl=60), sign("alice", ttl=90), sign("bob", ttl=60), expired
    await world.notify("alice")
    client = world.anonymous.with_headers(fields(*tokens))
    answer = await client.request("GET", "/v1/badge")

    assert status == answer.status
    assert status == 401 or 1 == body(answer)["unread"]


async def test_latest_login_of_several_cookies_counts(autojump_clock, world):
    """A revoked cookie beside one of a later login refuses no request."""
    old = world.service.authenticator.sign("alice", ttl=9_000)
    autojump_clock.jump(5)
    await post(world.producer, "/v1/users/alice/disconnect", {"revoke": True})
    autojump_clock.jump(5)
    new = world.service.authenticator.sign("alice", ttl=60)
    for first, second in ((old, new), (new, old)):
        cookies = {"Cookie": f"roundel={first}; roundel={second}"}
        answer = await world.anonymous.request("GET", "/v1/badge", headers=cookies)

        assert 200 == answer.status


async def test_producer_key_decides_before_a_cookie(autojump_clock, world):
    """A backend that forwards a browser's cookies is still the producer."""
    client = world.anonymous.with_headers(_both(KEY, "nonsense"))

    assert 200 == (await client.request("GET", "/v1/users/alice/badge")).status


async def test_ticket_decides_before_all_else(autojump_clock, world):
    """A stream with a ticket is of its user, whatever cookie the browser adds."""
    await world.notify("alice")
    answer = await post(world.producer, "/v1/tickets", {"user": "alice"})
    url = body(answer)["url"]
    bob = world.service.authenticator.sign("bob", ttl=60)
    expired = {"Cookie": "roundel=nonsense", "Authorization": f"Bearer {bob}"}
    async with world.anonymous.with_headers(expired).stream(url) as stream:
        hello, badge = await first_events(stream)

    assert ("snapshot", 1) == (hello["resume"], data(badge)["unread"])


@pytest.mark.parametrize("ticket", ["nonsense", ""])
async def test_bad_ticket_with_a_valid_token_is_401(autojump_clock, world, ticket):
    """A bad ticket is no downgrade to the next credential."""
    response = await world.user().request("GET", f"/v1/stream?ticket={ticket}")

    assert 401 == response.status


COOKIES = {
    "among-others": "a=1; roundel={}; b=2",
    "quoted": 'roundel="{}"',
    "beside-foreign-bytes": "name=\xe9; roundel={}",
    "beside-nonsense": "=; ;x; roundel={}",
}


@pytest.mark.parametrize("cookie", COOKIES.values(), ids=COOKIES)
async def test_other_cookies_are_ignored(autojump_clock, world, cookie):
    """Other applications of the site can set any cookies."""
    token = world.service.authenticator.sign("alice", ttl=60)
    browser = world.anonymous.with_headers({"Cookie": cookie.format(token)})

    assert 200 == (await browser.request("GET", "/v1/badge")).status


async def test_cookie_in_its_own_field_is_found(autojump_clock, world):
    """Over HTTP/2, each cookie can have its own field (RFC 9113 8.2.3)."""
    token = world.service.authenticator.sign("alice", ttl=60)
    browser = world.anonymous.with_headers(
        {"Cookie": ["a=1", f"roundel={token}", "b=2"]}
    )

    assert 200 == (await browser.request("GET", "/v1/badge")).status


# Names of users


GOOD_NAMES = {
    "plain": "Az09._~@:+-",
    "auth0": "auth0|507f1f77bcf86cd799439011",
    "google": "google-oauth2|113",
    "slash": "a/b",
    "mail": "o'brien@x.example",
    "accent": "jos\u00e9",
    "accent-apart": "jose\u0301",
    "uri": "spiffe://a/b",
    "escape": "%2F",
    "braces": "{x}",
    "dots": "..",
    "line-separator": "a\u2028b",
    "long": "u" * 255,
    "bytes": "\U0001f600" * 128,
}


@pytest.mark.parametrize("name", GOOD_NAMES.values(), ids=GOOD_NAMES)
async def test_user_name_is_the_same_in_a_path_and_a_token(autojump_clock, world, name):
    """The name in a producer's request is the `sub` of the user's token."""
    await world.notify(name)
    target = f"/v1/users/{quote(name, safe='')}/badge"
    response = await world.producer.request("GET", target)

    assert await world.badge(name) == body(response)


BAD_NAMES = {
    "space": "%20a",
    "long": "u" * 256,
    "line-end": "alice%0A",
    "nul": "%00",
    "topic": "%23a",
    "bytes": "%E2%82%AC" * 171,
}
USER_PATHS = {
    "badge": ("GET", "/v1/users/{}/badge"),
    "explain": ("GET", "/v1/users/{}/explain"),
    "delete": ("DELETE", "/v1/users/{}"),
    "disconnect": ("POST", "/v1/users/{}/disconnect"),
}


@pytest.mark.parametrize(
    ("path", "name"),
    [("badge", name) for name in BAD_NAMES]
    + [(path, "space") for path in USER_PATHS if path != "badge"],
)
async def test_invalid_user_name_in_a_path_is_422(autojump_clock, world, path, name):
    """The problem names the field `user`."""
    method, target = USER_PATHS[path]
    content = b"{}" if method == "POST" else b""
    response = await world.producer.request(
        method, target.format(BAD_NAMES[name]), body=content
    )

    assert ["user"] == [error["field"] for error in body(response, 422)["errors"]]


# Secrets


async def test_no_problem_contains_a_credential(autojump_clock, world):
    """A problem does not quote the credentials of its request."""
    token = world.service.authenticator.sign("alice", ttl=60)
    headers = {"Authorization": f"Bearer {token[:-1]}"}
    response = await world.anonymous.request("GET", "/v1/badge", headers=headers)

    assert response.status == 401
    assert token[:20] not in response.body.decode()
    assert KEY not in repr(world.service.authenticator)


async def _call_with_everything(world):
    """Send many requests, with valid and invalid credentials; return all secrets."""
    token = world.service.authenticator.sign("alice", ttl=600)
    bad = f"{token[:-6]}XXXXXX"
    tickets = [
        body(await post(client, "/v1/tickets", fields))["ticket"]
        for client, fields in [(world.user(), {}), (world.producer, {"user": "bob"})]
    ]
    credentials = [
        *(
            {"Authorization": f"Bearer {credential}"}
            for credential in (KEY, token, bad, "K3Y-bad")
        ),
        *({"Cookie": f"roundel={credential}"} for credential in (token, bad)),
        {"Authorization": f"Basic {KEY}"},
        {"Authorization": f"Bearer {KEY}", "Cookie": f"roundel={bad}"},
        {"Authorization": [f"Bearer {KEY}", f"Bearer {token}"]},
        {},
    ]
    content = b'{"to":{"user":"alice"},"title":"TITLE-x","body":"BODY-x","op_id":1}'
    for fields in credentials:
        client = world.anonymous.with_headers(
            {**fields, "Idempotency-Key": "IDEMPOTENCY-x"}
        )
        for method, target in ALL.values():
            if target != "/v1/stream":
                mark = "&" if "?" in target else "?"
                url = f"{target}{mark}ticket={tickets[0]}"
                await client.request(method, url, body=content * (method == "POST"))
                await client.request(method, target, body=b"{" * (method == "POST"))
        for url in (
            "/v1/stream",
            *(f"/v1/stream?ticket={t}" for t in (bad, tickets[1])),
        ):
            async with client.stream(url) as stream:
                await stream.next_event()
                await stream.next_event()
    url = f"/v1/stream?ticket={tickets[0]}"
    async with world.anonymous.stream(url) as stream:
        await stream.next_event()
        await stream.next_event()
        cursor = stream.last_event_id
    fields = {"Last-Event-ID": cursor}
    await world.anonymous.request("HEAD", url, headers=fields)
    await world.anonymous.request("HEAD", f"/nowhere?ticket={bad}")
    signatures = [each.rpartition(".")[2] for each in (token, bad, *tickets)]
    return [
        KEY, SECRET, token, bad, *tickets, *signatures, "K3Y-bad", "IDEMPOTENCY-x",
        "TITLE-x", "BODY-x", cursor,
    ]  # fmt: skip


@pytest.mark.slow
async def test_no_log_line_contains_a_secret(autojump_clock, world):
    """No key, token, ticket, cookie, cursor or text reaches the log's redaction."""
    written = io.StringIO()
    handler = logging.StreamHandler(written)
    root = logging.getLogger()
    level = root.level
    root.addHandler(handler)
    root.setLevel(logging.DEBUG)
    try:
        with capture_logs() as lines:
            secrets = await _call_with_everything(world)
    finally:
        root.removeHandler(handler)
        root.setLevel(level)
    text = written.getvalue() + repr(lines)

    assert len(lines) > 200
    assert [] == [secret for secret in secrets if secret in text]
