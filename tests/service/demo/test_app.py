"""The demo: one origin, two users, and nothing for anybody else's machine."""

from __future__ import annotations

import json
import re

import pytest

from roundel_adapters.testing import AsgiClient
from roundel_service import app as service
from roundel_service.demo.app import demo_app
from support.service import body, post, settings, wall_clock

PRODUCER_KEY = "a-</script>-key"


@pytest.fixture
def demo(autojump_clock) -> AsgiClient:
    """Make a client of the demo that comes under a name of this machine."""
    built = service.build(settings(producer_keys=PRODUCER_KEY), clock=wall_clock)
    return AsgiClient(
        demo_app(built, producer_key=PRODUCER_KEY), headers={"Host": "localhost:8080"}
    )


async def test_page_brings_cookies_for_both_users(autojump_clock, demo):
    """Each user's cookie is for that user's path, and out of script's reach."""
    page = await demo.request("GET", "/")

    assert page.status == 200
    assert "bob" in page.headers["set-cookie"]
    assert "Path=/as/bob/" in page.headers["set-cookie"]
    assert "HttpOnly; SameSite=Strict" in page.headers["set-cookie"]


async def test_page_loads_nothing_from_elsewhere_and_is_kept_nowhere(
    autojump_clock, demo
):
    """What the browser may do with the page is what the page needs."""
    page = await demo.request("GET", "/")

    assert page.headers["content-security-policy"].startswith("default-src 'none'")
    assert page.headers["cache-control"] == "no-store"
    assert not re.search(rb"(?:src|href)=\"?(?:https?:)?//", page.body)


async def test_key_cannot_break_out_of_the_page(autojump_clock, demo):
    """What is put into the page stays data, whatever it looks like."""
    page = (await demo.request("GET", "/")).body.decode()
    setup = re.search(r"<script[^>]*json[^>]*>(.*?)</script>", page, re.DOTALL)

    assert json.loads(setup[1])["producerKey"] == PRODUCER_KEY


@pytest.mark.parametrize(
    "path", ["/demo.css", "/demo.js", "/demo.svg", "/subscriber.js"]
)
async def test_files_of_the_page_are_served(autojump_clock, demo, path):
    """Everything that the page loads is there, with its type, and for HEAD too."""
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
        ("", 403),
    ],
)
async def test_page_is_for_names_of_this_machine(autojump_clock, demo, host, status):
    """A name that somebody else controls opens nothing (DNS rebinding)."""
    answer = await demo.request("GET", "/", headers={"Host": host})

    assert answer.status == status
    assert (b"producerKey" in answer.body) is (status == 200)


async def test_page_cannot_be_written_to(autojump_clock, demo):
    """Another method is refused in the contract's form."""
    answer = await demo.request("POST", "/")

    assert body(answer, 405)["status"] == 405
    assert answer.headers["allow"] == "GET, HEAD"


async def test_each_user_has_the_service_below_a_path(autojump_clock, demo):
    """The same service answers each user by that user's cookie."""
    cookie = (await demo.request("GET", "/")).headers["set-cookie"].split(";")[0]
    bob = demo({"Cookie": cookie})
    note = {"to": {"user": "bob"}, "title": "Hi"}
    producer = demo({"Authorization": f"Bearer {PRODUCER_KEY}"})
    await post(producer, "/v1/notify", note)

    assert body(await bob.request("GET", "/as/bob/v1/badge"))["unread"] == 1
    async with bob.stream("/as/bob/v1/stream") as stream:
        await stream.next_event()
        assert json.loads((await stream.next_event()).data)["unread"] == 1


@pytest.mark.parametrize("path", ["/as/alice", "/as/carol/v1/badge", "/as//v1/badge"])
async def test_nobody_else_has_a_path(autojump_clock, demo, path):
    """Only the page's two users are mounted."""
    assert (await demo.request("GET", path)).status == 404


async def test_path_of_a_user_needs_the_users_cookie(autojump_clock, demo):
    """The path alone proves nothing."""
    assert (await demo.request("GET", "/as/alice/v1/badge")).status == 401
