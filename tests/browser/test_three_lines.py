"""The three lines of script with which a site shows a badge."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from playwright.sync_api import Page

pytestmark = pytest.mark.slow

PAGE = '<!doctype html><title>a site</title><link rel="icon" href="data:,"><b id=bell>'

THREE_LINES = """() => {
  const stream = new EventSource("/v1/stream");
  const show = ({ unread, more }) => (bell.textContent = unread + (more ? "+" : ""));
  stream.addEventListener("badge", (event) => show(JSON.parse(event.data)));

  globalThis.hellos = [];
  const listen = (event) => hellos.push(JSON.parse(event.data).resume);
  stream.addEventListener("hello", listen);
}"""


@pytest.fixture
def site(server, context, page: Page) -> Page:
    """Open a page of the service's origin with a cookie of alice."""
    cookie = {"name": "roundel", "value": server.token("alice"), "url": server.url}
    context.add_cookies([cookie])
    page.route("**/blank", lambda r: r.fulfill(body=PAGE, content_type="text/html"))
    page.goto(f"{server.url}/blank")
    return page


def wait_for_badge(page: Page, text: str) -> None:
    page.wait_for_function("text => bell.textContent === text", arg=text)


def wait_for_hellos(page: Page, *outcomes: str) -> None:
    page.wait_for_function(
        "all => JSON.stringify(hellos) === JSON.stringify(all)", arg=list(outcomes)
    )


def test_plain_event_source_shows_the_badge(server, site):
    """The badge follows notifications."""
    site.evaluate(THREE_LINES)

    wait_for_badge(site, "0")
    server.notify("alice", "Hello")
    wait_for_badge(site, "1")
    server.notify("bob", "Not for alice")
    server.notify("alice", "Hello again")
    wait_for_badge(site, "2")

    assert server.badge("alice")["unread"] == 2


def test_plain_event_source_survives_a_restart(server, start, site):
    """After a restart without the data, the badge is correct again."""
    site.evaluate(THREE_LINES)
    server.notify("alice", "One")
    server.notify("alice", "Two")
    wait_for_badge(site, "2")

    assert server.stop() == 0
    again = start("serve", "--bind", server.address)
    wait_for_hellos(site, "snapshot", "reset")
    wait_for_badge(site, "0")
    again.notify("alice", "After the restart")
    wait_for_badge(site, "1")

    assert again.badge("alice")["unread"] == 1


def test_readme_script_sets_the_app_badge(server, site):
    """The script of the README works unchanged."""
    readme = (Path(__file__).parents[2] / "README.md").read_text()
    (script,) = re.findall(r"```js\n(.*?)```", readme, re.DOTALL)
    site.evaluate("navigator.setAppBadge = (number) => (bell.textContent = number)")
    site.evaluate(f"() => {{ {script} }}")

    wait_for_badge(site, "0")
    server.notify("alice", "Hello")
    wait_for_badge(site, "1")
