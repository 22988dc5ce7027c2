"""`roundel.js` where a page or its user leaves out categories."""

from __future__ import annotations

import pytest
from playwright.sync_api import BrowserContext, Page

from support.inbox_page import open_inbox, wait_for_unread

pytestmark = pytest.mark.slow


@pytest.fixture
def tab(start, context: BrowserContext) -> Page:
    """Open a page of messages only; there is one, and a piece of news."""
    server = start("serve", "--bind", "127.0.0.1:0", ROUNDEL_PING="1")
    for number in range(60):
        server.notify("alice", f"News {number}", category="news")
        server.notify("alice", f"Message {number}", category="dm")
    page = open_inbox(server, context, categories=["dm"])
    page.server = server  # type: ignore[attr-defined]
    return page


def test_page_of_one_category(tab: Page):
    """Older pages and "all" are of the page's categories; all operations settle."""
    server = tab.server  # type: ignore[attr-defined]
    tab.evaluate("inbox.loadMore()")
    assert ["dm"] == tab.evaluate(
        "[...new Set(inbox.items.map(item => item.category))]"
    )
    tab.evaluate("inbox.markAllRead()")
    wait_for_unread(tab, 0)
    tab.wait_for_function("() => !inbox.badge.isPending")
    by = server.badge("alice")["by"]
    assert {"news": 60} == {name: count["unread"] for name, count in by.items()}
    news = server.notify("alice", "News", category="news")["item"]
    tab.evaluate("id => inbox.markRead(id)", news)
    # The stream leaves the change out; its next ping says that nothing is missing.
    tab.wait_for_function("() => !inbox.badge.isPending")


def test_muted_item_is_read_offline(server, context: BrowserContext):
    """The number does not change when an item that does not count is marked as read."""
    server.notify("alice", "Message", category="dm")
    server.notify("alice", "News", category="news")
    server.mute("alice", "news")
    tab = open_inbox(server, context)
    context.set_offline(True)
    tab.evaluate("inbox.markRead(inbox.items[0].id)")

    assert 1 == tab.evaluate("inbox.badge.unread")
    assert tab.evaluate("inbox.items[0].read")


def test_operations_on_plain_http(server, context: BrowserContext):
    """Operations need no `crypto.randomUUID()`, which pages of plain http lack."""
    context.add_init_script("delete Crypto.prototype.randomUUID")
    server.notify("alice", "One")
    tab = open_inbox(server, context)
    tab.evaluate("inbox.markRead(inbox.items[0].id)")
    tab.wait_for_function("() => !inbox.badge.isPending")
    assert 0 == server.badge("alice")["unread"]
