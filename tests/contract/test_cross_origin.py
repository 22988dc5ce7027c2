"""Writes by cookie: only pages of the own origin, or of a listed one, can make them."""

from __future__ import annotations

import pytest

from support.service import body, post

OPS = {"op_id": "a", "ops": [{"seen_upto": 0}]}

OWN, FOREIGN = "http://roundel.test", "http://evil.test"
CROSS = {"Sec-Fetch-Site": "cross-site"}
WRITES = {
    "own": ({"Origin": OWN}, 200),
    "own-same-origin": ({"Origin": OWN, "Sec-Fetch-Site": "same-origin"}, 200),
    "same-origin-behind-a-proxy": (
        {"Origin": "https://public.test", "Sec-Fetch-Site": "same-origin"},
        200,
    ),
    "same-origin-without-origin": ({"Sec-Fetch-Site": "same-origin"}, 200),
    "typed": ({"Sec-Fetch-Site": "none"}, 200),
    "empty-site": ({"Origin": OWN, "Sec-Fetch-Site": ""}, 200),
    "own-but-cross-site": ({"Origin": OWN, **CROSS}, 403),
    "own-but-same-site": ({"Origin": OWN, "Sec-Fetch-Site": "same-site"}, 403),
    "unknown-site": ({"Origin": OWN, "Sec-Fetch-Site": "?"}, 403),
    "cross-site-without-origin": (CROSS, 403),
    "two-sites": ({"Sec-Fetch-Site": ["same-origin", "cross-site"]}, 403),
    "site-twice": ({"Sec-Fetch-Site": ["same-origin"] * 2}, 200),
    "host-twice": ({"Origin": OWN, "Host": ["roundel.test"] * 2}, 200),
    "two-hosts": ({"Origin": OWN, "Host": ["roundel.test", "evil.test"]}, 403),
    "two-hosts-as-one": ({"Origin": "http://a, b", "Host": ["a", "b"]}, 403),
    "listed-cross-site": ({"Origin": "https://app.example", **CROSS}, 200),
    "listed-same-site": (
        {"Origin": "https://app.example", "Sec-Fetch-Site": "same-site"},
        200,
    ),
    "foreign-forwarded": (
        {
            "Origin": FOREIGN,
            "X-Forwarded-Host": "evil.test",
            "Forwarded": "host=evil.test",
        },
        403,
    ),
    "two-origins": ({"Origin": [OWN, FOREIGN]}, 403),
    "none": ({}, 403),
}
ORIGINS = {
    "own": ("http://roundel.test", 200),
    "own-by-another-case": ("HTTP://Roundel.TEST", 200),
    "own-with-default-port": ("https://roundel.test:443", 200),
    "own-with-port-of-http": ("https://roundel.test:80", 403),
    "own-path": ("https://roundel.test/", 403),
    "own-user": ("https://u@roundel.test", 403),
    "own-by-tls": ("https://roundel.test", 200),
    "listed": ("https://app.example", 200),
    "foreign": ("http://evil.test", 403),
    "null": ("null", 403),
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
    fields = {"Cookie": f"roundel={token}", "Origin": origin}
    document = OPS if path == "/v1/ops" else {}

    assert (
        status
        == (await post(world.anonymous.with_headers(fields), path, document)).status
    )


@pytest.mark.parametrize(("fields", "status"), WRITES.values(), ids=WRITES)
async def test_write_with_a_cookie_is_of_an_own_page(
    autojump_clock, make_world, fields, status
):
    """`Sec-Fetch-Site` decides; without it `Origin` has to match `Host`."""
    world = make_world(cors_origins="https://app.example")
    token = world.service.authenticator.sign("alice", ttl=60)
    browser = world.anonymous.with_headers({"Cookie": f"roundel={token}", **fields})

    assert status == (await post(browser, "/v1/ops", OPS)).status


HOSTS = {
    "port": ("roundel.test:443", "https://roundel.test", 200),
    "capitals": ("Roundel.Test", "https://roundel.test", 200),
    "port-of-http": ("roundel.test:80", "http://roundel.test", 200),
    "port-of-the-other": ("roundel.test:443", "http://roundel.test", 403),
    "same-port": ("roundel.test:8080", "http://roundel.test:8080", 200),
    "other-port": ("roundel.test:8080", "http://roundel.test", 403),
    "empty-port": ("roundel.test:", "http://roundel.test", 200),
    "ipv6": ("[::1]:8080", "http://[::1]:8080", 200),
    "ipv6-default-port": ("[2001:DB8::443]:443", "https://[2001:db8::443]", 200),
    "ipv6-no-port": ("[::443]", "https://[:]", 403),
    "app": ("localhost", "capacitor://localhost", 200),
    "app-port": ("localhost:443", "capacitor://localhost", 403),
    "empty": ("", "https://", 403),
}


@pytest.mark.parametrize(("host", "origin", "status"), HOSTS.values(), ids=HOSTS)
async def test_origin_is_compared_with_the_host(
    autojump_clock, world, host, origin, status
):
    """Neither the case nor the default port of a scheme makes a page foreign."""
    token = world.service.authenticator.sign("alice", ttl=60)
    fields = {"Cookie": f"roundel={token}", "Host": host, "Origin": origin}
    browser = world.anonymous.with_headers(fields)

    assert status == (await post(browser, "/v1/ops", OPS)).status


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        (
            {"Origin": FOREIGN},
            ["Origin", "'http://evil.test'", "Host", "'roundel.test'"],
        ),
        (
            {"Origin": FOREIGN, **CROSS},
            ["Sec-Fetch-Site", "'cross-site'", "'http://evil.test'"],
        ),
        ({}, ["Origin", "none", "Host"]),
        ({"Origin": "x" * 5_000}, ["Origin", "'" + "x" * 64]),
    ],
    ids=["origin", "site", "neither", "long"],
)
async def test_foreign_write_names_what_was_compared(
    autojump_clock, world, fields, words
):
    """The problem shows which field a proxy or a page sets wrongly."""
    token = world.service.authenticator.sign("alice", ttl=60)
    browser = world.anonymous.with_headers({"Cookie": f"roundel={token}", **fields})
    detail = body(await post(browser, "/v1/ops", OPS), 403)["detail"]

    assert [] == [word for word in words if word not in detail]
    assert len(detail) < 400


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
    fields = {
        "Authorization": f"Bearer {token}",
        "Cookie": f"roundel={token}",
        "Origin": "http://evil.test",
    }

    assert (
        200 == (await post(world.anonymous.with_headers(fields), "/v1/ops", OPS)).status
    )
