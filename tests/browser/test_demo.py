"""The page of `roundel demo` in a browser."""

from __future__ import annotations

import http.client
import re

import pytest
from playwright.sync_api import Locator, Page, expect

pytestmark = pytest.mark.slow


@pytest.fixture
def opened(demo, page: Page):
    """Open the demo; fail on console errors and on requests to other origins."""
    errors: list[str] = []
    page.on(
        "console",
        lambda m: errors.append(m.text) if m.type in ("error", "warning") else None,
    )
    page.on("pageerror", lambda error: errors.append(str(error)))
    foreign: list[str] = []
    page.on(
        "request",
        lambda r: None if r.url.startswith(f"{demo.url}/") else foreign.append(r.url),
    )
    page.goto(demo.url)
    for user in ("alice", "bob"):
        expect(card(page, user)).to_have_attribute("data-link", "live")
    yield page
    assert errors == []
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


def expect_status(card: Locator, link: str, outcome: str) -> None:
    expect(card.locator(".link")).to_have_text(link)
    expect(card.locator(".outcome")).to_have_text(outcome)


def test_notification_raises_the_badge_of_its_user(opened):
    """Only the notified user's card changes."""
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


def test_broadcast_raises_every_badge(opened):
    """One notification to all users reaches both cards."""
    alice, bob = card(opened, "alice"), card(opened, "bob")
    alice.get_by_label("Title").fill("Maintenance at six")
    press(alice, "Tell everybody")

    for each in (alice, bob):
        expect_badge(each, "1")
        expect(each.locator(".words")).to_have_text("Maintenance at six")
    press(bob, "Mark all read")
    expect_badge(bob, None)
    expect_badge(alice, "1")


def test_reading_lowers_the_badge(opened):
    """A click marks one item as read, and the button all shown items."""
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


def test_click_on_the_bell_marks_items_as_seen(opened):
    """A seen item is no longer new, but still counts as unread."""
    alice = card(opened, "alice")
    notify(alice, "Hello")
    expect(alice.locator(".items .unseen")).to_have_count(1)

    alice.locator(".bell").click()
    expect(alice.locator(".items .unseen")).to_have_count(0)
    expect_badge(alice, "1")


def test_changes_during_a_disconnect_are_replayed(opened):
    """After a reconnect, the stream replays each missed change."""
    alice = card(opened, "alice")
    notify(alice, "Before")
    expect_badge(alice, "1")
    expect_status(alice, "Live", "fresh snapshot")

    press(alice, "Cut the wire")
    expect_status(alice, "Cut", "the shown state may be out of date")
    for title in ("One", "Two", "Three"):
        notify(alice, title)
        # The form is cleared after the response.
        expect(alice.get_by_label("Title")).to_have_value("")
    expect_badge(alice, "1")

    press(alice, "Reconnect")
    expect_status(alice, "Live", "resumed: replayed, 3 changes")
    expect_badge(alice, "4")
    expect(alice.locator(".items li")).to_have_count(4)
    expect(alice.locator(".words")).to_have_text(["Three", "Two", "One", "Before"])


def test_reconnect_without_changes_replays_nothing(opened):
    """A subscriber that is up to date resumes as current."""
    alice = card(opened, "alice")

    press(alice, "Cut the wire")
    press(alice, "Reconnect")

    expect_status(alice, "Live", "resumed: nothing missed")


def test_curl_example_of_the_page_works(opened, demo):
    """The curl example has a valid key, URL and body."""
    curl = opened.locator("#curl").text_content()
    assert curl is not None
    key = re.search(r"Bearer ([^']+)'", curl)
    assert key
    body = re.search(r"-d '(.+)'", curl)
    assert body

    headers = {"Authorization": f"Bearer {key[1]}"}
    connection = http.client.HTTPConnection(demo.address, timeout=20)
    connection.request("POST", "/v1/notify", body[1], headers)

    assert connection.getresponse().status == 200
    connection.close()
    expect_badge(card(opened, "alice"), "1")


def test_edited_notification_is_shown(opened):
    """A notification that is changed in place keeps its place, with the new text."""
    alice = card(opened, "alice")
    notify(alice, "First")
    expect(alice.locator(".words")).to_have_text("First")
    opened.evaluate("""async () => {
      const setup = document.querySelector("script[type='application/json']");
      const { producerKey } = JSON.parse(setup.textContent);
      const headers = { Authorization: `Bearer ${producerKey}` };
      const which = { to: { user: "alice" }, key: "k", category: "default" };
      const send = (path, fields) => fetch(path, {
        method: "POST", headers, body: JSON.stringify({ ...which, ...fields }),
      });
      await send("/v1/notify", { title: "Keyed" });
      await send("/v1/update", { set: { title: "Edited" } });
    }""")
    expect(alice.locator(".words")).to_have_text(["Edited", "First"])
    expect_badge(alice, "2")
