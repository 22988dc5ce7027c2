"""`roundel.js` where users sign in and out, in the tabs of one browser."""

from __future__ import annotations

import pytest
from playwright.sync_api import BrowserContext

from support.inbox_page import (
    connect_in,
    open_inbox,
    refusal,
    sign_in,
    wait_for_titles,
    wait_for_unread,
)

pytestmark = pytest.mark.slow


def test_tabs_follow_the_user_of_the_cookie(server, context: BrowserContext):
    """A tab of the next user never has items of the one before, who signed out."""
    server.notify("alice", "Of Alice")
    first = open_inbox(server, context)
    second = open_inbox(server, context, "bob")

    assert [] == second.evaluate("inbox.items")
    assert set() == set(second.evaluate("seen")) - {0}
    server.notify("bob", "Of Bob")
    for tab in (first, second):
        wait_for_titles(tab, "Of Bob")


def test_all_tabs_end_without_a_cookie_and_return(server, context: BrowserContext):
    """A tab that opens after the sign-out ends the others; a sign-in revives them."""
    server.notify("alice", "One")
    tab = open_inbox(server, context)
    context.clear_cookies()
    page = context.new_page()
    page.goto(f"{server.url}/livez")

    assert "unauthorized" == refusal(page)
    tab.wait_for_function("() => inbox.status.state === 'closed'")
    again = open_inbox(server, context)
    tab.wait_for_function("() => inbox.status.state === 'open'")
    again.close()
    server.notify("alice", "Two")
    wait_for_titles(tab, "Two", "One")


def test_page_may_connect_after_its_user_signs_in(server, context: BrowserContext):
    """A connection that was refused holds up none of the same page or of others."""
    page = context.new_page()
    page.goto(f"{server.url}/livez")

    assert "unauthorized" == refusal(page)
    sign_in(server, context, "alice")
    context.set_default_timeout(5_000)
    connect_in(page, {})


def test_forgotten_user_begins_anew(server, context: BrowserContext):
    """When a user is deleted, all tabs show an empty mailbox; no listener fails."""
    server.notify("alice", "One")
    tabs = [open_inbox(server, context), open_inbox(server, context)]
    errors: list[str] = []
    for tab in tabs:
        tab.on("pageerror", lambda error: errors.append(str(error)))
    server.forget("alice")
    for tab in tabs:
        wait_for_unread(tab, 0)
    server.notify("alice", "Two")
    for tab in tabs:
        wait_for_titles(tab, "Two")

    assert [] == errors


def test_pending_operation_waits_for_its_user(server, context: BrowserContext):
    """What one user did offline is sent neither without a cookie nor for another."""
    server.notify("alice", "One")
    server.notify("bob", "One")
    tab = open_inbox(server, context, share=False)
    context.set_offline(True)
    tab.evaluate("inbox.markAllRead()")
    context.clear_cookies()
    server.disconnect("alice")
    tab.wait_for_function("() => inbox.status.state === 'waiting'")
    context.set_offline(False)
    tab.wait_for_function("() => inbox.status.state === 'closed'")
    again = open_inbox(server, context, share=False)
    again.wait_for_function("() => !inbox.badge.isPending && !inbox.badge.unread")
    context.set_offline(True)
    again.evaluate("inbox.markAllRead()")
    sign_in(server, context, "bob")
    server.disconnect("alice")
    again.wait_for_function("() => inbox.status.state === 'waiting'")
    context.set_offline(False)
    again.wait_for_function(
        "() => inbox.status.state === 'open' && !inbox.badge.isPending"
    )

    assert 0 == server.badge("alice")["unread"]
    assert 1 == server.badge("bob")["unread"]
