"""The page of the HTTP contract in a browser."""

from __future__ import annotations

import json
import re

import msgspec
import pytest
from playwright.sync_api import Page, expect

from roundel_service.http.openapi.document import document
from roundel_service.http.openapi.examples import PROBLEM_EXAMPLES
from roundel_service.http.openapi.operations import OPERATIONS

pytestmark = pytest.mark.slow

EVIL = "<img src=x onerror=\"document.title = 'gotcha'\">"


@pytest.fixture
def watched(server, page: Page):
    """Fail on console errors and on requests to other origins."""
    errors: list[str] = []
    page.on(
        "console",
        lambda m: errors.append(m.text) if m.type in ("error", "warning") else None,
    )
    page.on("pageerror", lambda error: errors.append(str(error)))
    foreign: list[str] = []
    page.on(
        "request",
        lambda r: None if r.url.startswith(f"{server.url}/") else foreign.append(r.url),
    )
    yield page
    assert errors == []
    assert foreign == []


@pytest.fixture
def opened(server, watched: Page) -> Page:
    """Open the page."""
    watched.goto(f"{server.url}/api")
    expect(watched.locator("#count")).to_have_text(f"{len(OPERATIONS)} calls")
    return watched


def test_every_operation_is_shown(opened):
    """Each operation has its path, role, problems and a curl example."""
    expect(opened.locator(".call")).to_have_count(len(OPERATIONS))
    for call in OPERATIONS:
        card = opened.locator(f"#{call.id}")
        expect(card.locator(".method")).to_have_text(call.method)
        expect(card.locator(".path")).to_have_text(call.path)
        expect(card.get_by_text("curl", exact=False).last).to_contain_text("curl ")
        expect(card.locator("[data-problem]")).to_have_count(len(call.problems))
        assert opened.locator(f"[data-for={call.id}]").count() == 1


def test_problems_and_events_unfold(opened):
    """A problem and an event show their example when they are opened."""
    card = opened.locator("#notify [data-problem=idempotency-key-reused]")
    card.locator("summary").click()
    expected = PROBLEM_EXAMPLES["idempotency-key-reused"].document()

    assert msgspec.to_builtins(expected) == json.loads(
        card.locator("pre").text_content()
    )

    event = opened.locator("#stream [data-event=hello]")
    event.locator("summary").click()
    expect(event.locator("pre")).to_contain_text('"resume": "snapshot"')


def test_filter_shows_only_matching_calls(opened):
    """A key focuses the filter, typing filters, and Escape clears it."""
    opened.keyboard.press("/")
    opened.keyboard.type("idempotency-key-reused")
    expect(opened.locator(".call:visible")).to_have_count(1)
    expect(opened.locator("#notify")).to_be_visible()
    expect(opened.locator("#count")).to_have_text(f"1 of {len(OPERATIONS)} calls")

    opened.keyboard.press("Escape")
    expect(opened.locator(".call:visible")).to_have_count(len(OPERATIONS))


def test_link_to_a_hidden_section_shows_it(opened):
    """A link to a section that the filter hides makes it visible."""
    opened.locator("#filter").fill("idempotency-key-reused")
    opened.locator("#notify").get_by_role("link", name="Recipients").click()

    expect(opened.locator("#schema-Recipients")).to_be_in_viewport()


def test_page_works_without_a_mouse(opened):
    """The first tab stop skips the contents, and each collapsed part is a tab stop."""
    opened.keyboard.press("Tab")
    expect(opened.get_by_role("link", name="Skip to the calls")).to_be_focused()
    opened.keyboard.press("Enter")
    assert re.search("#calls$", opened.url)

    summary = opened.locator("#notify [data-problem=unauthorized] summary")
    summary.focus()
    opened.keyboard.press("Enter")
    expect(opened.locator("#notify [data-problem=unauthorized] pre")).to_be_visible()


def test_page_fits_a_phone(opened):
    """A narrow screen needs no horizontal scrolling."""
    opened.set_viewport_size({"width": 360, "height": 740})
    widths = opened.evaluate("[document.documentElement.scrollWidth, innerWidth]")

    assert widths == [360, 360]


def test_markup_in_the_document_is_shown_as_text(server, watched):
    """Markup of the document is escaped."""
    changed = json.loads(json.dumps(document()))
    changed["info"]["description"] = EVIL
    changed["tags"][0]["description"] = EVIL
    call = changed["paths"]["/v1/notify"]["post"]
    call["summary"] = call["description"] = EVIL
    changed["components"]["schemas"]["NotifyRequest"]["properties"]["title"] = {
        "type": EVIL,
        "description": EVIL,
        "pattern": EVIL,
    }
    watched.route("**/openapi.json", lambda route: route.fulfill(json=changed))
    watched.goto(f"{server.url}/api")

    expect(watched.locator("#notify .summary")).to_have_text(EVIL)
    expect(watched.locator("main img")).to_have_count(0)
    assert watched.title() == "Roundel HTTP API"
