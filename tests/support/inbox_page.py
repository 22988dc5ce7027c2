"""Pages of a browser that follow a mailbox with `roundel.js`, as `inbox`."""

from __future__ import annotations

from typing import Any

from playwright.sync_api import BrowserContext, Page


def sign_in(server: Any, context: BrowserContext, user: str) -> None:
    """Set the cookie of *user* in all tabs."""
    cookie = {"name": "roundel", "value": server.token(user), "url": server.url}
    context.add_cookies([cookie])


def open_inbox(
    server: Any, context: BrowserContext, user: str = "alice", **options: Any
) -> Page:
    """Open a page of the service's origin, and connect as *user*."""
    sign_in(server, context, user)
    page = context.new_page()
    page.goto(f"{server.url}/livez")
    connect_in(page, options)
    return page


def connect_in(page: Page, options: dict[str, Any]) -> None:
    page.evaluate(
        """async (options) => {
          const { connect } = await import("/roundel/roundel.js");
          globalThis.inbox = await connect(options);
          globalThis.seen = [];
          inbox.subscribe(() => seen.push(inbox.badge.unread));
        }""",
        options,
    )


def refusal(page: Page) -> str:
    """Connect in vain; return the reason."""
    return page.evaluate(
        """async () => {
          const { connect } = await import("/roundel/roundel.js");
          return connect().catch((error) => error.message);
        }"""
    )


def wait_for_unread(page: Page, unread: int) -> None:
    page.wait_for_function("n => inbox.badge?.unread === n", arg=unread)


def wait_for_titles(page: Page, *titles: str) -> None:
    """Wait until the list has *titles*, newest first."""
    page.wait_for_function(
        "titles => inbox.items.map(item => item.title).join() === titles",
        arg=",".join(titles),
    )
