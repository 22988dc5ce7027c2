"""Authentication and authorization of each route.

`tests/service/identity/` has the cases of each kind of credential.
"""

from __future__ import annotations

import io
import logging

import pytest
from joserfc import jwt
from joserfc.jwk import ECKey
from structlog.testing import capture_logs

from roundel_adapters.testing import AsgiClient
from roundel_service import app
from roundel_service.settings import load
from support.service import KEY, SECRET, body, post, remaining_events

OPS = {"op_id": "a", "ops": [{"seen_upto": 0}]}

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


REPEATED = {
    "bad-cookie": lambda token: _both(token, "nonsense"),
    "bad-cookie-of-producer": lambda token: _both(KEY, "nonsense"),
    "not-ascii-cookie": lambda token: _both(token, "\xe9"),
    "bearer": lambda token: {"Authorization": [f"Bearer {token}"] * 2},
    "bad-bearer": lambda token: {"Authorization": [f"Bearer {token}", "Bearer x"]},
    "cookie": lambda token: {"Cookie": f"roundel={token}; roundel={token}"},
    "cookie-field": lambda token: {"Cookie": [f"roundel={token}", "roundel=nonsense"]},
}


@pytest.mark.parametrize("fields", REPEATED.values(), ids=REPEATED)
async def test_repeated_or_additional_bad_credential_is_401(
    autojump_clock, world, fields
):
    """A second or invalid credential makes the request invalid."""
    token = world.service.authenticator.sign("alice", ttl=60)
    client = world.anonymous.with_headers(fields(token))

    assert 401 == (await client.request("GET", "/v1/badge")).status


async def test_bad_ticket_with_a_valid_token_is_401(autojump_clock, world):
    """The stream route checks the ticket as well."""
    response = await world.user().request("GET", "/v1/stream?ticket=nonsense")

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


# Writes with a cookie


ORIGINS = {
    "own": ("http://roundel.test", 200),
    "own-by-tls": ("https://roundel.test", 200),
    "listed": ("https://app.example", 200),
    "foreign": ("http://evil.test", 403),
    "null": ("null", 403),
    "none": (None, 403),
    "empty": ("", 403),
    "host-alone": ("roundel.test", 403),
    "other-port": ("http://roundel.test:81", 403),
    "suffix": ("http://roundel.test.evil.test", 403),
    "prefix": ("http://evil-roundel.test", 403),
    "listed-but-case": ("https://APP.example", 403),
    "listed-other-scheme": ("http://app.example", 403),
}


@pytest.mark.parametrize(
    ("path", "name"),
    [("/v1/ops", name) for name in ORIGINS] + [("/v1/tickets", "foreign")],
)
async def test_write_with_a_cookie_needs_an_allowed_origin(
    autojump_clock, make_world, path, name
):
    """A foreign page cannot write with the cookie of a logged-in browser."""
    origin, status = ORIGINS[name]
    world = make_world(cors_origins="https://app.example")
    token = world.service.authenticator.sign("alice", ttl=60)
    fields = {"Cookie": f"roundel={token}"}
    if origin is not None:
        fields["Origin"] = origin
    document = OPS if path == "/v1/ops" else {}

    assert (
        status
        == (await post(world.anonymous.with_headers(fields), path, document)).status
    )


@pytest.mark.parametrize("method", ["GET", "HEAD"])
async def test_read_with_a_cookie_needs_no_origin(autojump_clock, world, method):
    """Any page can send a read; CORS decides whether it gets the response."""
    token = world.service.authenticator.sign("alice", ttl=60)
    fields = {"Cookie": f"roundel={token}", "Origin": "http://evil.test"}

    assert (
        200
        == (
            await world.anonymous.with_headers(fields).request(method, "/v1/badge")
        ).status
    )


async def test_write_with_a_header_needs_no_origin(autojump_clock, world):
    """No browser adds the header to the requests of foreign pages."""
    client = world.user().with_headers({"Origin": "http://evil.test"})

    assert 200 == (await post(client, "/v1/ops", OPS)).status


async def test_write_with_header_and_cookie_needs_no_origin(autojump_clock, world):
    """A foreign page cannot set the header, so the request is not foreign."""
    token = world.service.authenticator.sign("alice", ttl=60)
    fields = {**_both(token, token), "Origin": "http://evil.test"}

    assert (
        200 == (await post(world.anonymous.with_headers(fields), "/v1/ops", OPS)).status
    )


# Names of users


GOOD_NAMES = {"all": "Az09._~@:+-", "long": "u" * 128, "dots": "..", "one": "-"}


@pytest.mark.parametrize("name", GOOD_NAMES.values(), ids=GOOD_NAMES)
async def test_user_name_is_the_same_in_a_path_and_a_token(autojump_clock, world, name):
    """The name in a producer's request is the `sub` of the user's token."""
    await world.notify(name)
    quoted = name.replace("+", "%2B").replace(":", "%3A")
    target = f"/v1/users/{quoted}/badge"
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
