"""Who calls: producers by a key, users by a token, and nobody else."""

from __future__ import annotations

import hashlib
import hmac
import io
import json
import logging
from base64 import urlsafe_b64encode

import pytest
from structlog.testing import capture_logs

from support.service import KEY, SECRET, START, body, post

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


def _bearer(world, proof):
    return world.anonymous.with_headers({"Authorization": f"Bearer {proof}"})


# Roles


@pytest.mark.parametrize(("method", "target"), ALL.values(), ids=ALL)
async def test_there_is_no_anonymous_caller(autojump_clock, world, method, target):
    """Every call without a proof is 401, before anything else is looked at."""
    answer = await world.anonymous.request(method, target)

    assert body(answer, 401)["type"] == "urn:roundel:problem:unauthorized"
    assert answer.headers["www-authenticate"] == "Bearer"


@pytest.mark.parametrize(("method", "target"), PRODUCER_CALLS.values())
async def test_producer_call_with_a_users_proof_is_403(
    autojump_clock, world, method, target
):
    """A user may do nothing that is a producer's, not even about itself."""
    answer = await world.user().request(method, target, body=b"?")

    assert body(answer, 403)["type"] == "urn:roundel:problem:forbidden"


@pytest.mark.parametrize(("method", "target"), PRODUCER_CALLS.values())
async def test_producer_call_with_a_users_cookie_is_403(
    autojump_clock, world, method, target
):
    """A cookie is a user's proof, whatever page sends it."""
    token = world.service.authenticator.sign("alice", ttl=60)
    browser = world.anonymous.with_headers(
        {"Cookie": f"roundel={token}", "Origin": "http://roundel.test"}
    )

    assert 403 == (await browser.request(method, target)).status


@pytest.mark.parametrize(("method", "target"), USER_CALLS.values(), ids=USER_CALLS)
async def test_user_call_with_a_producers_key_is_403(
    autojump_clock, world, method, target
):
    """A producer is no user: it has calls of its own."""
    answer = await world.producer.request(method, target)

    assert body(answer, 403)["type"] == "urn:roundel:problem:forbidden"


async def test_user_sees_just_the_own_mailbox(autojump_clock, world):
    """A proof is for the user named by `sub` only."""
    await world.notify("alice")

    assert (1, 0) == (
        (await world.badge("alice"))["unread"],
        (await world.badge("bob"))["unread"],
    )


# Producer keys


@pytest.mark.parametrize("key", ["one-key", "another-key", "and:a=third"])
async def test_each_producer_key_is_good(autojump_clock, make_world, key):
    """Keys are changed by having two for a while."""
    world = make_world(producer_keys="one-key,another-key,and:a=third")

    assert 200 == (await _bearer(world, key).request("GET", EXPLAIN)).status


EXPLAIN = "/v1/users/alice/explain"
BAD_KEYS = {
    "prefix": KEY[:-1],
    "longer": KEY + "x",
    "case": KEY.upper(),
    "inner-space": KEY.replace("-", " "),
    "empty": "",
    "list": f"{KEY},{KEY}",
    "not-ascii": "clé",
    "long": KEY * 1_000,
}


@pytest.mark.parametrize("key", BAD_KEYS.values(), ids=BAD_KEYS)
async def test_anything_but_the_key_is_401(autojump_clock, world, key):
    """Keys are compared whole."""
    assert 401 == (await _bearer(world, key).request("GET", EXPLAIN)).status


SCHEMES = {
    "lower": (f"bearer {KEY}", 200),
    "upper": (f"BEARER {KEY}", 200),
    "spaces": (f"Bearer   {KEY} ", 200),
    "basic": (f"Basic {KEY}", 401),
    "none": (KEY, 401),
    "alone": ("Bearer", 401),
    "empty": ("", 401),
}


@pytest.mark.parametrize(("field", "status"), SCHEMES.values(), ids=SCHEMES)
async def test_scheme_is_bearer_in_any_case(autojump_clock, world, field, status):
    """RFC 9110 11.1: the name of a scheme is compared without regard to case."""
    client = world.anonymous.with_headers({"Authorization": field})

    assert status == (await client.request("GET", EXPLAIN)).status


# Tokens of users


@pytest.mark.parametrize("how", ["Authorization", "Cookie"])
async def test_user_is_proven_by_header_or_cookie(autojump_clock, world, how):
    """A browser's EventSource, which sends no header, has its cookie."""
    token = world.service.authenticator.sign("alice", ttl=60)
    field = f"Bearer {token}" if how == "Authorization" else f"a=b; roundel={token}"
    client = world.anonymous.with_headers({how: field})

    assert 200 == (await client.request("GET", "/v1/badge")).status
    async with client.stream("/v1/stream") as stream:
        assert "hello" == (await stream.next_event()).type


GOOD = {"sub": "alice", "exp": START + 60}
BAD_CLAIMS = {
    "no-sub": {"sub": ...},
    "sub-number": {"sub": 7},
    "sub-no-name": {"sub": "a b"},
    "sub-empty": {"sub": ""},
    "sub-long": {"sub": "u" * 129},
    "no-exp": {"exp": ...},
    "exp-text": {"exp": "tomorrow"},
    "expired": {"exp": START},
    "not-yet": {"nbf": START + 600},
    "issued-in-the-future": {"iat": START + 600},
    "no-audience": {"aud": ...},
    "other-audience": {"aud": "others"},
    "no-issuer": {"iss": ...},
    "other-issuer": {"iss": "https://evil.test"},
}


@pytest.mark.parametrize("claims", BAD_CLAIMS.values(), ids=BAD_CLAIMS)
@pytest.mark.parametrize("how", ["bearer", "cookie"])
async def test_token_with_bad_claims_is_401(autojump_clock, make_world, claims, how):
    """`sub` and `exp` are required; audience and issuer are checked where set."""
    world = make_world(jwt_audience="roundel", jwt_issuer="https://issuer.test")
    good = {**GOOD, "aud": ["roundel", "x"], "iss": "https://issuer.test"}

    async def status(told):
        token = world.service.authenticator.keys.sign(
            {name: value for name, value in told.items() if value is not ...}
        )
        fields = {"bearer": {"Authorization": f"Bearer {token}"}}
        fields["cookie"] = {"Cookie": f"roundel={token}"}
        return (
            await world.anonymous.with_headers(fields[how]).request("GET", "/v1/badge")
        ).status

    assert (200, 401) == (await status(good), await status({**good, **claims}))


def _by_hand(header):
    """Return a token with any *header*, signed by the right secret."""
    parts = (json.dumps(part).encode() for part in (header, {**GOOD, "iat": START}))
    told = b".".join(urlsafe_b64encode(part).rstrip(b"=") for part in parts)
    kind = {"HS384": hashlib.sha384, "HS512": hashlib.sha512}.get(
        header.get("alg", ""), hashlib.sha256
    )
    signature = hmac.digest(SECRET.encode(), told, kind)
    if header.get("alg", "").lower() == "none":
        signature = b""
    return (told + b"." + urlsafe_b64encode(signature).rstrip(b"=")).decode()


HEADERS = {
    "HS256": ({"alg": "HS256"}, 200),
    "HS256-typ": ({"alg": "HS256", "typ": "JWT"}, 200),
    "HS384": ({"alg": "HS384"}, 401),
    "HS512": ({"alg": "HS512"}, 401),
    "RS256": ({"alg": "RS256"}, 401),
    "none": ({"alg": "none"}, 401),
    "None": ({"alg": "None"}, 401),
    "missing": ({}, 401),
    "critical": ({"alg": "HS256", "crit": ["x"], "x": 1}, 401),
}


@pytest.mark.parametrize(("header", "status"), HEADERS.values(), ids=HEADERS)
async def test_algorithm_is_never_the_tokens_choice(
    autojump_clock, world, header, status
):
    """A secret is for HS256, whatever a token says it was signed by."""
    answer = await _bearer(world, _by_hand(header)).request("GET", "/v1/badge")

    assert status == answer.status


async def test_token_of_another_secret_is_401(autojump_clock, make_world):
    """A signature is by the secret of this service."""
    other = make_world(jwt_secret=SECRET[::-1])
    token = other.service.authenticator.sign("alice", ttl=60)

    assert (
        401 == (await _bearer(make_world(), token).request("GET", "/v1/badge")).status
    )


async def test_token_that_ran_out_is_401(autojump_clock, world):
    """A proof that ran out is 401 from that moment on."""
    alice = world.user(ttl=60)
    good = await alice.request("GET", "/v1/badge")
    autojump_clock.jump(60)
    late = await alice.request("GET", "/v1/badge")

    assert (200, 401) == (good.status, late.status)
    assert body(late, 401)["type"] == "urn:roundel:problem:unauthorized"


# More than one proof


def _both(authorization, cookie):
    return {"Authorization": f"Bearer {authorization}", "Cookie": f"roundel={cookie}"}


BESIDE = {
    "bad-bearer": lambda token: _both("nonsense", token),
    "bad-cookie": lambda token: _both(token, "nonsense"),
    "bad-cookie-of-producer": lambda token: _both(KEY, "nonsense"),
    "empty-cookie": lambda token: _both(token, ""),
    "other-scheme": lambda token: {**_both("", token), "Authorization": "Basic eA=="},
    "empty-bearer": lambda token: {**_both("", token), "Authorization": ""},
    "repeated-bearer": lambda token: {"Authorization": [f"Bearer {token}"] * 2},
    "repeated-bad": lambda token: {"Authorization": [f"Bearer {token}", "Bearer x"]},
    "repeated-cookie": lambda token: {"Cookie": f"roundel={token}; roundel={token}"},
    "second-cookie-field": lambda token: {
        "Cookie": [f"roundel={token}", "roundel=nonsense"]
    },
    "not-ascii-cookie": lambda token: _both(token, "\xe9"),
}


@pytest.mark.parametrize("fields", BESIDE.values(), ids=BESIDE)
@pytest.mark.parametrize("target", ["/v1/badge", "/v1/stream", EXPLAIN])
async def test_bad_proof_is_not_made_up_for_by_a_good_one(
    autojump_clock, world, fields, target
):
    """There is no falling back from a proof that is present and bad."""
    token = world.service.authenticator.sign("alice", ttl=60)
    answer = await world.anonymous.with_headers(fields(token)).request("GET", target)

    assert 401 == answer.status


async def test_bad_ticket_is_not_made_up_for(autojump_clock, world):
    """On the stream all three kinds are checked."""
    answer = await world.user().request("GET", "/v1/stream?ticket=nonsense")

    assert 401 == answer.status


async def test_good_ticket_does_not_make_up_for_a_bad_cookie(autojump_clock, world):
    """The other way round neither."""
    url = body(await post(world.user(), "/v1/tickets", {}))["url"]
    browser = world.anonymous.with_headers({"Cookie": "roundel=nonsense"})

    assert 401 == (await browser.request("GET", url)).status


async def test_header_goes_before_the_cookie(autojump_clock, world):
    """Of two good proofs the header's says who calls."""
    await world.notify("alice")
    fields = _both(
        *(world.service.authenticator.sign(user, ttl=60) for user in ("alice", "bob"))
    )
    badge = body(await world.anonymous.with_headers(fields).request("GET", "/v1/badge"))

    assert 1 == badge["unread"]


async def test_producers_key_goes_before_a_users_cookie(autojump_clock, world):
    """A call has one caller: with a good key it is the producer."""
    client = world.anonymous.with_headers(
        _both(KEY, world.service.authenticator.sign("alice", ttl=60))
    )

    assert 200 == (await client.request("GET", EXPLAIN)).status
    assert 403 == (await client.request("GET", "/v1/badge")).status


COOKIES = {
    "among-others": "a=1; roundel={}; b=2",
    "quoted": 'roundel="{}"',
    "beside-foreign-bytes": "name=\xe9; roundel={}",
    "beside-nonsense": "=; ;x; roundel={}",
}


@pytest.mark.parametrize("cookie", COOKIES.values(), ids=COOKIES)
async def test_cookies_of_others_are_not_in_the_way(autojump_clock, world, cookie):
    """What other applications of a site have set is none of ours."""
    token = world.service.authenticator.sign("alice", ttl=60)
    browser = world.anonymous.with_headers({"Cookie": cookie.format(token)})

    assert 200 == (await browser.request("GET", "/v1/badge")).status


async def test_cookie_in_a_field_of_its_own_is_found(autojump_clock, world):
    """RFC 9113 8.2.3: over HTTP/2 a browser may send each cookie by itself."""
    token = world.service.authenticator.sign("alice", ttl=60)
    browser = world.anonymous.with_headers(
        {"Cookie": ["a=1", f"roundel={token}", "b=2"]}
    )

    assert 200 == (await browser.request("GET", "/v1/badge")).status


# Writes by cookie


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


@pytest.mark.parametrize(("origin", "status"), ORIGINS.values(), ids=ORIGINS)
@pytest.mark.parametrize("path", ["/v1/ops", "/v1/tickets"])
async def test_write_by_cookie_needs_a_known_origin(
    autojump_clock, make_world, path, origin, status
):
    """A foreign page cannot act through a browser that is logged in here."""
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
async def test_read_by_cookie_needs_no_origin(autojump_clock, world, method):
    """What changes nothing can be asked for by any page; CORS lets it read or not."""
    token = world.service.authenticator.sign("alice", ttl=60)
    fields = {"Cookie": f"roundel={token}", "Origin": "http://evil.test"}

    assert (
        200
        == (
            await world.anonymous.with_headers(fields).request(method, "/v1/badge")
        ).status
    )


async def test_write_by_header_needs_no_origin(autojump_clock, world):
    """No browser adds a header by itself."""
    client = world.user().with_headers({"Origin": "http://evil.test"})

    assert 200 == (await post(client, "/v1/ops", OPS)).status


async def test_write_by_header_and_cookie_is_by_header(autojump_clock, world):
    """A foreign page cannot set the header, so who did is no foreign page."""
    token = world.service.authenticator.sign("alice", ttl=60)
    fields = {**_both(token, token), "Origin": "http://evil.test"}

    assert (
        200 == (await post(world.anonymous.with_headers(fields), "/v1/ops", OPS)).status
    )


# Names of users


GOOD_NAMES = {"all": "Az09._~@:+-", "long": "u" * 128, "dots": "..", "one": "-"}


@pytest.mark.parametrize("name", GOOD_NAMES.values(), ids=GOOD_NAMES)
async def test_user_name_is_the_same_in_a_path_and_a_token(autojump_clock, world, name):
    """What a producer names is what a user's token says."""
    await world.notify(name)
    quoted = name.replace("+", "%2B").replace(":", "%3A")
    target = f"/v1/users/{quoted}/badge"
    answer = await world.producer.request("GET", target)

    assert await world.badge(name) == body(answer)


BAD_NAMES = {
    "space": "a%20b",
    "long": "u" * 129,
    "line-end": "alice%0A",
    "nul": "%00",
    "not-ascii": "zo%C3%AB",
    "not-utf8": "%FF",
    "percent": "%25",
    "comma": "a,b",
}


@pytest.mark.parametrize("name", BAD_NAMES.values(), ids=BAD_NAMES)
@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("GET", "/v1/users/{}/badge"),
        ("GET", "/v1/users/{}/explain"),
        ("DELETE", "/v1/users/{}"),
        ("POST", "/v1/users/{}/disconnect"),
    ],
)
async def test_bad_user_name_in_a_path_is_422(
    autojump_clock, world, name, method, path
):
    """What nobody can be called is refused by its field."""
    answer = await world.producer.request(
        method, path.format(name), body=b"{}"[: 2 * (method == "POST")]
    )

    assert ["user"] == [error["field"] for error in body(answer, 422)["errors"]]


# Secrets


async def test_no_problem_tells_a_secret(autojump_clock, world):
    """What callers present is not told back to them, nor are our secrets."""
    token = world.service.authenticator.sign("alice", ttl=60)
    headers = {"Authorization": f"Bearer {token[:-1]}"}
    answer = await world.anonymous.request("GET", "/v1/badge", headers=headers)

    assert answer.status == 401
    assert token[:20] not in answer.body.decode()
    assert KEY not in repr(world.service.authenticator)


async def _call_with_everything(world):
    """Make many calls, with good and bad proofs; return every secret there was."""
    token = world.service.authenticator.sign("alice", ttl=600)
    bad = f"{token[:-6]}XXXXXX"
    tickets = [
        body(await post(client, "/v1/tickets", fields))["ticket"]
        for client, fields in [(world.user(), {}), (world.producer, {"user": "bob"})]
    ]
    proofs = [
        *(
            {"Authorization": f"Bearer {proof}"}
            for proof in (KEY, token, bad, "K3Y-bad")
        ),
        *({"Cookie": f"roundel={proof}"} for proof in (token, bad)),
        {"Authorization": f"Basic {KEY}"},
        {"Authorization": f"Bearer {KEY}", "Cookie": f"roundel={bad}"},
        {"Authorization": [f"Bearer {KEY}", f"Bearer {token}"]},
        {},
    ]
    content = b'{"to":{"user":"alice"},"title":"TITLE-x","body":"BODY-x","op_id":1}'
    for fields in proofs:
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
    signatures = [proof.rpartition(".")[2] for proof in (token, bad, *tickets)]
    return [
        KEY, SECRET, token, bad, *tickets, *signatures, "K3Y-bad", "IDEMPOTENCY-x",
        "TITLE-x", "BODY-x", cursor,
    ]  # fmt: skip


@pytest.mark.slow
async def test_no_log_line_tells_a_secret(autojump_clock, world):
    """No key, token, ticket, cookie, cursor or text is given to any logger.

    This looks at what is logged, before anything is redacted.
    """
    told = io.StringIO()
    handler = logging.StreamHandler(told)
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
    text = told.getvalue() + repr(lines)

    assert len(lines) > 200
    assert [] == [secret for secret in secrets if secret in text]
