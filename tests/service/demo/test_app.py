"""The demo: a page for two users, served only to this machine."""

from __future__ import annotations

import json
import re

import pytest

from roundel_adapters.testing import AsgiClient
from roundel_service import app as service
from roundel_service.demo.app import demo_app
from support.service import body, post, settings, wall_clock

PRODUCER_KEY = "a-</script>-producer-key"


@pytest.fixture
def demo(autojump_clock) -> AsgiClient:
    """Make a client of the demo with a loopback host name."""
    built = service.build(settings(producer_keys=PRODUCER_KEY), clock=wall_clock)
    return AsgiClient(
        demo_app(built, producer_key=PRODUCER_KEY), headers={"Host": "localhost:8080"}
    )


async def test_page_sets_a_cookie_for_each_user(autojump_clock, demo):
    """A cookie is limited to its user's path, HttpOnly and SameSite=Strict."""
    page = await demo.request("GET", "/")

    assert page.status == 200
    assert "bob" in page.headers["set-cookie"]
    assert "Path=/as/bob/" in page.headers["set-cookie"]
    assert "HttpOnly; SameSite=Strict" in page.headers["set-cookie"]


async def test_page_loads_only_its_own_origin_and_is_not_cached(autojump_clock, demo):
    """The content security policy allows only what the page needs."""
    page = await demo.request("GET", "/")

    assert page.headers["content-security-policy"].startswith("default-src 'none'")
    assert "frame-ancestors 'none'" in page.headers["content-security-policy"]
    assert page.headers["x-frame-options"] == "DENY"
    assert page.headers["x-content-type-options"] == "nosniff"
    assert page.headers["referrer-policy"] == "no-referrer"
    assert page.headers["cache-control"] == "no-store"
    assert not re.search(rb"(?:src|href)=\"?(?:https?:)?//", page.body)


async def test_key_is_escaped_in_the_page(autojump_clock, demo):
    """A key with HTML stays inside its script element."""
    page = (await demo.request("GET", "/")).body.decode()
    setup = re.search(r"<script[^>]*json[^>]*>(.*?)</script>", page, re.DOTALL)

    assert json.loads(setup[1])["producerKey"] == PRODUCER_KEY


@pytest.mark.parametrize(
    "path", ["/demo.css", "/demo.js", "/demo.svg", "/subscriber.js"]
)
async def test_files_of_the_page_are_served(autojump_clock, demo, path):
    """Each file of the page has a body for GET, and the same headers for HEAD."""
    file, head = await demo.request("GET", path), await demo.request("HEAD", path)

    assert (200, 200) == (file.status, head.status)
    assert file.body
    assert head.body == b""
    assert head.headers == file.headers
    assert "set-cookie" not in file.headers


@pytest.mark.parametrize(
    ("host", "status"),
    [
        ("127.0.0.1:1", 200),
        ("[::1]:1", 200),
        ("localhost", 200),
        ("evil.test", 403),
        ("127.0.0.1.evil.test", 403),
        ("localhost.evil", 403),
        ("", 403),
    ],
)
async def test_page_needs_a_loopback_host(autojump_clock, demo, host, status):
    """A foreign host name gets a 403 without the key (DNS rebinding)."""
    response = await demo.request("GET", "/", headers={"Host": host})

    assert response.status == status
    assert (b"producerKey" in response.body) is (status == 200)
    assert ("set-cookie" in response.headers) is (status == 200)


async def test_page_allows_only_get_and_head(autojump_clock, demo):
    """Another method is a 405 problem with `Allow`."""
    response = await demo.request("POST", "/")

    assert body(response, 405)["status"] == 405
    assert response.headers["allow"] == "GET, HEAD"


async def test_each_user_has_the_service_below_a_path(autojump_clock, demo):
    """Below `/as/USER`, the service authenticates by the user's cookie."""
    cookies = (await demo.request("GET", "/")).headers.getlist("set-cookie")
    cookie = next(each.split(";")[0] for each in cookies if "/as/bob" in each)
    bob = demo.with_headers({"Cookie": cookie})
    notification = {"to": {"user": "bob"}, "title": "Hi"}
    producer = demo.with_headers({"Authorization": f"Bearer {PRODUCER_KEY}"})
    await post(producer, "/v1/notify", notification)

    assert body(await bob.request("GET", "/as/bob/v1/badge"))["unread"] == 1
    async with bob.stream("/as/bob/v1/stream") as stream:
        await stream.next_event()
        assert json.loads((await stream.next_event()).data)["unread"] == 1


@pytest.mark.parametrize("path", ["/as/alice", "/as/carol/v1/badge", "/as//v1/badge"])
async def test_other_users_have_no_path(autojump_clock, demo, path):
    """Only the two users of the page are mounted."""
    assert (await demo.request("GET", path)).status == 404


async def test_path_of_a_user_needs_the_cookie(autojump_clock, demo):
    """The path alone does not authenticate."""
    assert (await demo.request("GET", "/as/alice/v1/badge")).status == 401
