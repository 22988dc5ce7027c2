"""The page of `roundel demo`, as a person uses it."""

from __future__ import annotations

import http.client
import json
import re

import pytest
from playwright.sync_api import Locator, Page, expect

pytestmark = pytest.mark.slow


@pytest.fixture
def opened(demo, page: Page):
    """Open the demo, and watch for errors and for requests that leave it."""
    complaints: list[str] = []
    page.on(
        "console",
        lambda m: complaints.append(m.text) if m.type in ("error", "warning") else None,
    )
    page.on("pageerror", lambda error: complaints.append(str(error)))
    foreign: list[str] = []
    page.on(
        "request",
        lambda r: None if r.url.startswith(f"{demo.url}/") else foreign.append(r.url),
    )
    page.goto(demo.url)
    for user in ("alice", "bob"):
        expect(card(page, user)).to_have_attribute("data-link", "live")
    yield page
    assert complaints == []
    assert foreign == []


def card(page: Page, user: str) -> Locator:
    return page.locator(f"[data-user={user}]")


def press(card: Locator, name: str) -> None:
    card.get_by_role("button", name=name, exact=True).click()


def notify(card: Locator, title: str, category: str = "default") -> None:
    card.get_by_label("Title").fill(title)
    card.get_by_label("Category").select_option(category)
    press(card, "Notify")


def expect_badge(card: Locator, text: str | None) -> None:
    if text is None:
        expect(card.locator(".badge")).to_be_hidden()
    else:
        expect(card.locator(".badge")).to_have_text(text)
        expect(card.locator(".badge")).to_be_visible()


def expect_told(card: Locator, link: str, outcome: str) -> None:
    expect(card.locator(".link")).to_have_text(link)
    expect(card.locator(".outcome")).to_have_text(outcome)


def test_a_notification_raises_one_users_badge(opened):
    """Whoever is notified sees it at once, and nobody else does."""
    alice, bob = card(opened, "alice"), card(opened, "bob")
    expect_badge(alice, None)

    notify(alice, "Review <b>requested</b>", "mention")
    expect_badge(alice, "1")
    expect(alice.locator(".items li")).to_have_count(1)
    expect(alice.locator(".words")).to_have_text("Review <b>requested</b>")
    expect(alice.locator(".category")).to_have_text("mention")
    expect_badge(bob, None)

    notify(bob, "Lunch?", "dm")
    expect_badge(bob, "1")
    expect_badge(alice, "1")
    expect(bob.locator(".items li")).to_have_count(1)


def test_reading_lowers_the_badge(opened):
    """A click reads one, and the button reads all that is shown."""
    alice = card(opened, "alice")
    press(alice, "3 at once")
    expect_badge(alice, "3")

    alice.locator(".items li").first.get_by_role("button").click()
    expect_badge(alice, "2")
    expect(alice.locator(".items .unread")).to_have_count(2)

    press(alice, "Mark all read")
    expect_badge(alice, None)
    expect(alice.locator(".items .unread")).to_have_count(0)
    expect(alice.get_by_role("button", name="Mark all read")).to_be_disabled()


def test_looking_at_the_bell_marks_as_seen(opened):
    """Seen is not read: what was looked at is no longer new, and still counts."""
    alice = card(opened, "alice")
    notify(alice, "Hello")
    expect(alice.locator(".items .unseen")).to_have_count(1)

    alice.locator(".bell").click()
    expect(alice.locator(".items .unseen")).to_have_count(0)
    expect_badge(alice, "1")


def test_a_cut_wire_misses_nothing(opened):
    """What happened while the wire was cut is replayed, change by change."""
    alice = card(opened, "alice")
    notify(alice, "Before")
    expect_badge(alice, "1")
    expect_told(alice, "Live", "fresh snapshot")

    press(alice, "Cut the wire")
    expect_told(alice, "Cut", "what you see may be old")
    for title in ("One", "Two", "Three"):
        notify(alice, title)
        # The form is emptied when the service has taken it.
        expect(alice.get_by_label("Title")).to_have_value("")
    expect_badge(alice, "1")

    press(alice, "Reconnect")
    expect_told(alice, "Live", "resumed: replayed, 3 changes")
    expect_badge(alice, "4")
    expect(alice.locator(".items li")).to_have_count(4)
    expect(alice.locator(".words")).to_have_text(["Three", "Two", "One", "Before"])


def test_a_cut_wire_may_have_missed_nothing(opened):
    """A reader that is up to date is told so, and is sent nothing."""
    alice = card(opened, "alice")

    press(alice, "Cut the wire")
    press(alice, "Reconnect")

    expect_told(alice, "Live", "resumed: nothing missed")


def test_what_the_page_suggests_works(opened, demo):
    """The ready-made curl line holds the key and address that notify alice."""
    curl = opened.locator("#curl").text_content()
    assert curl is not None
    key = re.search(r"Bearer ([^']+)'", curl)
    assert key
    body = re.search(r"-d '(.+)'", curl)
    assert body

    headers = {"Authorization": f"Bearer {key[1]}"}
    status, *_ = ask(demo, "/v1/notify", headers, body=body[1])

    assert status == 200
    expect_badge(card(opened, "alice"), "1")


def test_the_page_is_for_this_machine_alone(demo):
    """A name that somebody else's DNS points here gets no page, and no key."""
    assert ask(demo, "/", {"Host": "127.0.0.1:1"})[0] == 200
    assert ask(demo, "/", {"Host": "localhost"})[0] == 200
    assert ask(demo, "/", {"Host": "[::1]:8080"})[0] == 200

    for host in ("evil.example", "127.0.0.1.evil.example", "localhost.evil", ""):
        status, headers, body = ask(demo, "/", {"Host": host})

        assert status == 403
        assert headers["Content-Type"] == "application/problem+json"
        assert "Set-Cookie" not in headers
        assert json.loads(body)["status"] == 403


def test_the_page_can_be_neither_framed_nor_kept(demo):
    """The page's head leaves a foreign page nothing to play with."""
    _, headers, _ = ask(demo, "/", {})

    assert "default-src 'none'" in headers["Content-Security-Policy"]
    assert "frame-ancestors 'none'" in headers["Content-Security-Policy"]
    assert headers["X-Frame-Options"] == "DENY"
    assert headers["X-Content-Type-Options"] == "nosniff"
    assert headers["Referrer-Policy"] == "no-referrer"
    assert headers["Cache-Control"] == "no-store"
    cookies = headers.get_all("Set-Cookie")
    assert len(cookies) == 2
    assert all("HttpOnly; SameSite=Strict" in cookie for cookie in cookies)


def ask(demo, path: str, headers: dict[str, str], *, body: str | None = None):
    connection = http.client.HTTPConnection(demo.address, timeout=20)
    connection.request("POST" if body else "GET", path, body, headers)
    answer = connection.getresponse()
    told = answer.status, answer.headers, answer.read()
    connection.close()
    return told
