"""`roundel.js` in a browser: any number of tabs, either transport."""

from __future__ import annotations

import re
from collections.abc import Callable
from functools import partial
from pathlib import Path

import pytest
from playwright.sync_api import BrowserContext, Page, expect

from support.inbox_page import connect_in, open_inbox, wait_for_unread

pytestmark = pytest.mark.slow

DOCS = Path(__file__).parents[2] / "docs"
GUIDE = (DOCS / "how-to/show-a-badge.md").read_text()
TRANSPORTS = ("fetch", "eventsource")


@pytest.fixture
def open_tab(server, context: BrowserContext) -> Callable[..., Page]:
    """Open a page of the service's origin, and connect as *user*."""
    return partial(open_inbox, server, context)


def titles(page: Page) -> list[str]:
    return page.evaluate("inbox.items.map(item => item.title)")


@pytest.mark.parametrize("transport", TRANSPORTS)
def test_notification_arrives(server, open_tab, transport):
    """The badge and the list are those of the service, over both transports."""
    server.notify("alice", "Before")
    tab = open_tab(transport=transport, share=False)

    assert ["Before"] == titles(tab)
    server.notify("alice", "After")
    wait_for_unread(tab, 2)
    assert ["After", "Before"] == titles(tab)


def test_tabs_share_one_stream(server, open_tab):
    """Of several tabs one has the stream; when it closes, another takes over."""
    first, second, third = open_tab(), open_tab(), open_tab()
    server.notify("alice", "One")
    for tab in (first, second, third):
        wait_for_unread(tab, 1)
    first.close()
    server.notify("alice", "Two")
    for tab in (second, third):
        wait_for_unread(tab, 2)
        assert ["Two", "One"] == titles(tab)


def test_read_shows_at_once_and_settles(server, open_tab):
    """A read item counts no more at once, and the pending operation is confirmed."""
    server.notify("alice", "One")
    tab, other = open_tab(), open_tab()
    tab.evaluate("inbox.markRead(inbox.items[0].id)")

    assert 0 == tab.evaluate("inbox.badge.unread")
    wait_for_unread(other, 0)
    tab.wait_for_function("() => !inbox.badge.isPending")
    assert 0 == server.badge("alice")["unread"]


@pytest.mark.parametrize("transport", TRANSPORTS)
def test_restart_of_the_service(start, page: Page, context, transport):
    """After a kill the page comes back by itself, with what it has missed."""
    server = start("serve", "--bind", "127.0.0.1:0")
    context.add_cookies(
        [{"name": "roundel", "value": server.token("alice"), "url": server.url}]
    )
    page.goto(f"{server.url}/livez")
    connect_in(page, {"transport": transport, "share": False})
    server.process.kill()
    server.process.wait()
    page.wait_for_function("() => inbox.status.state === 'waiting'")
    again = start("serve", "--bind", server.address)
    again.notify("alice", "After")
    page.wait_for_function("() => inbox.badge.unread === 1")

    assert "open" == page.evaluate("inbox.status.state")


def test_token_is_renewed(server, page: Page):
    """An expired token is asked for again, once; without a new one the inbox closes."""
    page.goto(f"{server.url}/livez")
    page.expose_function(
        "tokenFor", lambda renew: server.token("alice") if renew else "x"
    )
    page.evaluate(
        """async () => {
          const { connect } = await import("/roundel/roundel.js");
          globalThis.inbox = await connect({ token: (renew) => tokenFor(renew) });
        }"""
    )
    server.notify("alice", "One")
    wait_for_unread(page, 1)
    reason = page.evaluate(
        """async () => {
          const { connect } = await import("/roundel/roundel.js");
          return connect({ token: "bad" }).catch((error) => error.message);
        }"""
    )
    assert "unauthorized" == reason


def test_revoked_user_stays_away(server, open_tab):
    """After a revocation the inbox closes and asks no more."""
    tab = open_tab()
    server.revoke("alice")
    tab.wait_for_function("() => inbox.status.state === 'closed'")

    assert "revoked" == tab.evaluate("inbox.status.reason")


def test_operation_made_offline_is_sent_once(server, open_tab, context):
    """What is done offline shows at once, outlives the page, and is sent later."""
    server.notify("alice", "One")
    server.notify("alice", "Two")
    tab = open_tab(share=False)
    context.set_offline(True)
    tab.evaluate("inbox.markRead(inbox.items[0].id)")

    assert 1 == tab.evaluate("inbox.badge.unread")
    assert 2 == server.badge("alice")["unread"]
    tab.close()
    context.set_offline(False)
    again = open_tab(share=False)
    again.wait_for_function("() => !inbox.badge.isPending && inbox.badge.unread === 1")
    assert 1 == server.badge("alice")["unread"]


def test_operation_of_another_user_is_dropped(server, open_tab, context):
    """What one user did offline is not done to the next one of the same browser."""
    server.notify("alice", "One")
    server.notify("bob", "One")
    tab = open_tab(share=False)
    context.set_offline(True)
    tab.evaluate("inbox.markAllRead()")
    tab.close()
    context.set_offline(False)
    other = open_tab("bob", share=False)
    other.wait_for_function("() => !inbox.badge.isPending")

    assert 1 == server.badge("bob")["unread"]


def lifecycle(page: Page, state: str) -> None:
    page.context.new_cdp_session(page).send(
        "Page.setWebLifecycleState", {"state": state}
    )


def test_frozen_leader_hands_over(server, open_tab):
    """A tab that is frozen gives its stream to another one, and catches up later."""
    first, second = open_tab(), open_tab()
    lifecycle(first, "frozen")
    server.notify("alice", "One")
    wait_for_unread(second, 1)
    lifecycle(first, "active")
    wait_for_unread(first, 1)
    server.notify("alice", "Two")
    for tab in (first, second):
        wait_for_unread(tab, 2)


def test_page_that_ends_opens_no_stream(server, context):
    """A page that is left ends its stream, and opens none for its last moments."""
    tab = open_inbox(server, context)
    started = tab.evaluate(
        """async () => {
          const started = [];
          globalThis.fetch = async (url) => started.push(url);
          // As in a page that ends, no timer runs.
          globalThis.setTimeout = () => 0;
          dispatchEvent(new PageTransitionEvent("pagehide"));
          await navigator.locks.request("later", () => {});
          await navigator.locks.query();
          return started;
        }"""
    )

    assert [] == started


def test_eight_tabs_over_http1(server, open_tab):
    """More tabs than a browser has connections load, and share one stream."""
    tabs = [open_tab() for _ in range(8)]
    server.notify("alice", "One")
    for tab in tabs:
        wait_for_unread(tab, 1)
    tabs[3].evaluate("inbox.markAllRead()")
    for tab in tabs:
        wait_for_unread(tab, 0)


def open_file(server, context: BrowserContext, name: str) -> Page:
    """Open a page of the docs on the service's origin, as alice."""
    cookie = {"name": "roundel", "value": server.token("alice"), "url": server.url}
    context.add_cookies([cookie])
    page = context.new_page()
    content = (DOCS / "examples" / name).read_text()
    assert f"```html\n{content}```" in GUIDE
    page.route(
        "**/page", lambda route: route.fulfill(body=content, content_type="text/html")
    )
    page.goto(f"{server.url}/page")
    return page


def test_page_with_three_lines(server, context):
    """The first page of the guide shows the number in a normal tab."""
    page = open_file(server, context, "badge_three_lines.html")
    expect(page.locator("#unread")).to_have_text("0")
    server.notify("alice", "One")
    expect(page.locator("#unread")).to_have_text("1")


def test_page_with_the_module(server, context):
    """The second page of the guide shows the list, and marks items as read."""
    page = open_file(server, context, "badge_module.html")
    server.notify("alice", "One")
    server.notify("alice", "Two <b>")
    expect(page).to_have_title("(2) Inbox")
    expect(page.locator("li span")).to_have_text(["Two <b>", "One"])
    page.get_by_role("button", name="Mark as read").first.click()
    expect(page.locator("#unread")).to_have_text("1")
    page.get_by_role("button", name="Mark all as read").click()
    expect(page.locator("#unread")).to_have_text("")
    expect(page).to_have_title("Inbox")


def test_page_with_the_element(server, context):
    """The third page of the guide has a bell with the number."""
    page = open_file(server, context, "badge_element.html")
    server.notify("alice", "One")
    expect(page.locator("roundel-bell #badge")).to_have_text("1")
    expect(page).to_have_title("(1) Inbox")


def test_script_with_tokens(server, page: Page):
    """The script of the guide gets its tokens from the login of the page."""
    (script,) = re.findall("```js\n(.*?)```", GUIDE, re.DOTALL)
    script = script.replace("https://badges.example/v1", "/v1")
    script += "globalThis.inbox = inbox;"
    page.route(
        "**/login/token*", lambda route: route.fulfill(body=server.token("alice"))
    )
    page.goto(f"{server.url}/livez")
    page.add_script_tag(content=script, type="module")
    page.wait_for_function("() => globalThis.inbox?.badge.unread === 0")
    server.notify("alice", "One")
    wait_for_unread(page, 1)
