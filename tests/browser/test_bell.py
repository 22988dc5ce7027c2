"""`<roundel-bell>` in a browser."""

from __future__ import annotations

import re
from collections.abc import Callable

import pytest
from playwright.sync_api import BrowserContext, Locator, Page, expect

pytestmark = pytest.mark.slow

PAGE = """<!doctype html><html lang="{lang}" dir="{dir}"><title>App</title>
<link rel="icon" href="data:,"><button id="before">before</button>
<roundel-bell {attributes}></roundel-bell>
<script type="module" src="/roundel/bell.js"></script></html>"""
CSP = (
    "default-src 'self'; img-src data:; "
    "require-trusted-types-for 'script'; trusted-types roundel"
)


@pytest.fixture
def open_bell(server, context: BrowserContext) -> Callable[..., Page]:
    """Open a page that has the element alone, under a strict policy, as alice."""
    errors: list[str] = []

    def open_one(
        attributes: str = "", lang: str = "en", direction: str = "ltr"
    ) -> Page:
        cookie = {"name": "roundel", "value": server.token("alice"), "url": server.url}
        context.add_cookies([cookie])
        page = context.new_page()
        page.on(
            "console", lambda m: errors.append(m.text) if m.type == "error" else None
        )
        page.on("pageerror", lambda error: errors.append(str(error)))
        body = PAGE.format(attributes=attributes, lang=lang, dir=direction)
        headers = {"Content-Security-Policy": CSP, "Content-Type": "text/html"}
        page.route("**/page", lambda it: it.fulfill(body=body, headers=headers))
        page.goto(f"{server.url}/page")
        page.wait_for_function(
            "() => document.querySelector('roundel-bell').inbox", polling=50
        )
        return page

    yield open_one
    assert [] == errors


def bell(page: Page) -> Locator:
    return page.locator("roundel-bell #bell")


def rows(page: Page) -> Locator:
    return page.locator("roundel-bell #list li[data-id]")


def test_count_follows_the_mailbox(server, open_bell):
    """The badge, its name for screen readers, and the title of the page agree."""
    page = open_bell("document-title max=2")
    expect(bell(page)).to_have_accessible_name("Notifications")
    for count, shown in ((1, "1"), (2, "2"), (3, "2+")):
        server.notify("alice", f"Note {count}")
        expect(page.locator("roundel-bell #badge")).to_have_text(shown)
        expect(bell(page)).to_have_accessible_name(f"Notifications, {shown} unread")
        expect(page).to_have_title(f"({shown}) App")


def test_title_is_that_of_the_page(server, open_bell, context):
    """The number is in the title of a hidden tab too, and in front of any new title."""
    # The browser draws no frames of a hidden tab.
    context.add_init_script("globalThis.requestAnimationFrame = () => 1")
    page = open_bell("document-title")
    server.notify("alice", "One")
    expect(page).to_have_title("(1) App")
    page.evaluate("document.title = 'Other'")
    server.notify("alice", "Two")
    expect(page).to_have_title("(2) Other")
    page.evaluate("document.body.append(document.querySelector('roundel-bell'))")
    server.notify("alice", "Three")
    expect(page).to_have_title("(3) Other")
    page.evaluate("document.querySelector('roundel-bell').remove()")
    expect(page).to_have_title("Other")


def test_moved_bell_shows_its_new_state(server, open_bell, context):
    """A drawing that an element had planned before it was moved hides no later one."""
    context.add_init_script(
        """const real = setTimeout;
        globalThis.setTimeout = (run, delay, ...rest) =>
          real(run, delay < 50 ? 500 : delay, ...rest);"""
    )
    server.notify("alice", "One")
    page = open_bell("document-title")
    expect(page).to_have_title("(1) App")
    page.evaluate("document.body.append(document.querySelector('roundel-bell'))")
    expect(page).to_have_title("(1) App")
    expect(bell(page)).to_have_accessible_name("Notifications, 1 unread")


@pytest.mark.parametrize("lang", ["", "en_US", "x"])
def test_language_that_browsers_do_not_know(server, open_bell, lang):
    """The list is shown whatever the page has in `lang`."""
    server.notify("alice", "One")
    page = open_bell(lang=lang)
    bell(page).click()
    expect(rows(page)).to_have_count(1)


def test_list_opens_and_marks_as_read(server, open_bell):
    """A click on an item marks it as read; the button marks all."""
    for title in ("One", "Two <b>", "Three"):
        server.notify("alice", title)
    page = open_bell()
    bell(page).click()
    expect(bell(page)).to_have_attribute("aria-expanded", "true")
    expect(page.locator("roundel-bell .title")).to_have_text(
        ["Three", "Two <b>", "One"]
    )
    rows(page).nth(1).locator(".open").click()
    expect(page.locator("roundel-bell #badge")).to_have_text("2")
    page.get_by_role("button", name="Mark all as read").click()
    expect(bell(page)).to_have_accessible_name("Notifications")


def test_keyboard_alone(server, open_bell):
    """The list opens, is walked and closes by keys; the focus returns to the bell."""
    for title in ("One", "Two"):
        server.notify("alice", title)
    page = open_bell()
    page.locator("#before").focus()
    page.keyboard.press("Tab")
    page.keyboard.press("Enter")
    page.keyboard.press("ArrowDown")
    expect(rows(page).nth(0).locator(".open")).to_be_focused()
    page.keyboard.press("ArrowDown")
    expect(rows(page).nth(1).locator(".open")).to_be_focused()
    server.notify("alice", "Three")
    expect(rows(page)).to_have_count(3)
    expect(rows(page).nth(2).locator(".open")).to_be_focused()
    page.keyboard.press("Tab")
    page.keyboard.press("Enter")
    expect(rows(page)).to_have_count(2)
    expect(rows(page).nth(0).locator(".open")).to_be_focused()
    page.keyboard.press("Escape")
    expect(bell(page)).to_be_focused()
    expect(bell(page)).to_have_attribute("aria-expanded", "false")
    page.keyboard.press("Enter")
    page.keyboard.press("Tab")
    page.keyboard.press("Enter")
    expect(page.locator("roundel-bell #badge")).to_have_text("")
    page.keyboard.press("ArrowDown")
    expect(rows(page).nth(0).locator(".open")).to_be_focused()


def test_links_are_http_only(server, open_bell):
    """A URL of another scheme is no link, so a notification cannot run a script."""
    for url in ("javascript:alert(1)", "data:text/html,x", "/t/42"):
        server._request(
            "/v1/notify",
            server.key,
            f'{{"to": {{"user": "alice"}}, "title": "x", "url": "{url}"}}',
        )
    page = open_bell()
    bell(page).click()
    expect(rows(page)).to_have_count(3)

    links = page.locator("roundel-bell a.open")
    expect(links).to_have_count(1)
    expect(links).to_have_attribute("href", re.compile(r"^http://.*/t/42$"))


def test_texts_of_a_language(server, open_bell):
    """The language of the page decides, and single texts can be replaced."""
    page = open_bell("""texts='{"empty": "Nix Neues."}'""", lang="de")
    expect(bell(page)).to_have_accessible_name("Benachrichtigungen")
    bell(page).click()
    expect(page.locator("roundel-bell #empty")).to_have_text("Nix Neues.")
    server.notify("alice", "Hallo")
    expect(page.locator("roundel-bell .when")).to_have_text("jetzt")


def test_news_are_announced_once(server, open_bell):
    """A screen reader hears of a new item, not of old or muted ones."""
    server.mute("alice", "news")
    server.notify("alice", "Old")
    page = open_bell()
    live = page.locator("roundel-bell #live")
    expect(live).to_have_text("")
    server.notify("alice", "Muted", category="news")
    expect(rows(page)).to_have_count(2)
    expect(live).to_have_text("")
    server.notify("alice", "New")
    expect(live).to_have_text("New notification: New")


@pytest.mark.parametrize("direction", ["ltr", "rtl"])
def test_fits_a_narrow_window(server, open_bell, direction):
    """At 320 px the list is inside the window, in both directions of text."""
    server.notify("alice", "A title that is long enough for more than one line")
    page = open_bell(direction=direction)
    page.set_viewport_size({"width": 320, "height": 480})
    bell(page).click()
    box = page.locator("roundel-bell #panel").bounding_box()
    assert box is not None
    assert box["x"] >= 0
    assert box["x"] + box["width"] <= 320
    assert box["y"] + box["height"] <= 480


def test_large_count_stays_inside_the_window(server, open_bell):
    """A bell at the edge of the window does not make the page wider."""
    for number in range(11):
        server.notify("alice", f"Note {number}")
    page = open_bell("max=10")
    page.emulate_media(reduced_motion="reduce")
    element = "document.querySelector('roundel-bell')"
    page.evaluate(
        f"Object.assign({element}.style, {{ position: 'fixed', right: '8px', top: 0 }})"
    )
    badge = page.locator("roundel-bell #badge")
    expect(badge).to_have_text("10+")
    box = badge.bounding_box()
    assert box is not None
    assert box["x"] + box["width"] <= 1200


def test_older_items_load_at_the_end_of_the_list(server, open_bell):
    """The list grows when its end comes into view."""
    for number in range(60):
        server.notify("alice", f"Note {number}")
    page = open_bell()
    bell(page).click()
    expect(rows(page)).to_have_count(50)
    page.locator("roundel-bell #list").evaluate("it => it.scrollTop = it.scrollHeight")
    expect(rows(page)).to_have_count(60)
    expect(page.locator("roundel-bell .title").last).to_have_text("Note 0")
