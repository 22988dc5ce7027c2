"""Pages with a plain `EventSource` behind the documented proxies, through restarts."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import ExitStack, closing
from itertools import islice
from pathlib import Path
from urllib.parse import quote

import attrs
import httpx2
import pytest
from playwright.sync_api import BrowserContext, Page

from browser.conftest import Server, Start, browser, start
from support.certificates import Authority
from support.ports import reserved_port
from support.proxies import PROXIES, Frontend, running_proxy
from support.valkey_server import server as store_server

__all__ = ["browser", "start"]  # Fixtures are found by their names.

pytestmark = pytest.mark.slow

PAGES = 8
"""Open pages: more than the six connections of HTTP/1.1."""

FOLLOW = """() => {
  document.body.innerHTML = "<b id=bell>";
  globalThis.cuts = 0;
  globalThis.stream = new EventSource("/v1/stream");
  stream.onerror = () => { cuts += 1; };
  stream.addEventListener("badge", (event) => {
    bell.textContent = JSON.parse(event.data).unread;
    globalThis.shownAt = Date.now();
  });
}"""


@attrs.define
class Deployment:
    """Nodes behind a proxy, which a test stops and starts again, and their pages."""

    start: Start
    context: BrowserContext
    addresses: list[str]
    store: str
    url: str = ""
    nodes: list[Server] = attrs.field(factory=list)
    pages: list[Page] = attrs.field(factory=list)

    def start_node(self, number: int, **settings: str) -> None:
        bind = self.addresses[number]
        settings = {"ROUNDEL_ENGINE": self.store, **settings}
        node = self.start("serve", "--bind", bind, **settings)
        self.nodes[number : number + 1] = [node]

    def open_pages(self, count: int = PAGES) -> None:
        """Open pages of the site that show the badge of alice."""
        token = self.nodes[0].token("alice")
        cookie = {"name": "roundel", "value": token, "url": self.url}
        self.context.add_cookies([cookie])
        for _ in range(count):
            page = self.context.new_page()
            page.goto(f"{self.url}/v1/nothing")
            page.evaluate(FOLLOW)
            self.pages.append(page)

    def follow(self, user: str) -> Iterator[str]:
        """Open a stream over HTTP/1.1; yield its event types."""
        headers = {"Authorization": f"Bearer {self.nodes[0].token(user)}"}
        with (
            httpx2.Client(verify=False, timeout=20) as client,
            client.stream("GET", f"{self.url}/v1/stream", headers=headers) as response,
        ):
            for line in response.iter_lines():
                if line.startswith("event: "):
                    yield line.removeprefix("event: ")

    def wait_for_badge(self, number: int) -> None:
        """Wait until every page shows *number*; fail with the states of the pages."""
        try:
            for page in self.pages:
                page.wait_for_function("n => bell.textContent === n", arg=f"{number}")
        except Exception:
            look = "() => [stream.readyState, bell.textContent, cuts]"
            pytest.fail(
                f"expected {number} in {[p.evaluate(look) for p in self.pages]}"
            )


@pytest.fixture
def context(browser) -> Iterator[BrowserContext]:
    """Open a window that accepts the certificates of the tests."""
    with browser.new_context(ignore_https_errors=True) as context:
        context.set_default_timeout(20_000)
        yield context


@pytest.fixture
def deploy(start, context, tmp_path: Path, lacking) -> Iterator:
    """Start nodes behind a proxy of this name."""
    certificate, key = Authority(tmp_path).issue("127.0.0.1")
    with ExitStack() as stack:

        def deploy(
            proxy: str, *, nodes: int = 1, store: str = "", tls=True, **settings: str
        ) -> Deployment:
            ports = [stack.enter_context(reserved_port()) for _ in range(nodes + 1)]
            addresses = [f"127.0.0.1:{port}" for port in ports[1:]]
            file = f"sqlite:{tmp_path / 'roundel.db'}"
            made = Deployment(start, context, addresses, store or file)
            for number in range(nodes):
                made.start_node(number, **settings)
            folder = tmp_path / proxy
            folder.mkdir()
            site = Frontend(ports[0], certificate, key, addresses, tls)
            running = running_proxy(proxy, folder, site, lacking)
            made.url = stack.enter_context(running)
            return made

        yield deploy
        for page in context.pages:
            page.close()  # Caddy waits for open streams before it exits.


@pytest.mark.parametrize("end", ["stop", "kill"])
@pytest.mark.parametrize("proxy", PROXIES)
def test_every_page_is_live_after_a_restart(deploy, proxy, end):
    """After SIGTERM or SIGKILL and a start, all pages show the next badge.

    A page that opened its stream while the service was down shows it too.
    """
    site = deploy(proxy)
    site.open_pages()
    site.wait_for_badge(0)
    site.nodes[0].notify("alice", "Before")
    site.wait_for_badge(1)

    if end == "stop":
        assert site.nodes[0].stop() == 0
    else:
        site.nodes[0].process.kill()
        site.nodes[0].process.wait()
    site.pages[-1].evaluate("() => stream.close()")
    site.pages[-1].evaluate(FOLLOW)
    for page in site.pages[:-1]:
        page.wait_for_function("() => cuts > 0")
    site.start_node(0)
    site.nodes[0].notify("alice", "After")
    site.wait_for_badge(2)


def test_every_page_is_live_after_a_rolling_restart(deploy):
    """Two nodes at one store are restarted one after the other behind nginx."""
    with store_server("redis") as store:
        site = deploy("nginx", nodes=2, store=store.url)
        site.open_pages()
        site.wait_for_badge(0)
        for number in (0, 1):
            assert site.nodes[number].stop() == 0
            site.start_node(number)
            site.nodes[number].notify("alice", "Hello")
            site.wait_for_badge(number + 1)


def test_node_that_is_back_is_used_at_once(deploy):
    """nginx asks each node again, also one that was away a moment ago.

    Otherwise a rolling restart leaves no node: the first is still avoided while the
    second is away.
    """
    site = deploy("nginx", nodes=2, store="memory")

    def statuses() -> set[int]:
        """Call the service through nginx, so that each node is tried."""
        request = site.context.request
        return {request.get(f"{site.url}/v1/badge").status for _ in range(4)}

    for number in (0, 1):
        site.nodes[number].stop()
        assert {401} == statuses()
        site.start_node(number)


def test_client_that_leaves_is_noticed_behind_haproxy(deploy):
    """The service ends the stream without waiting for a ping."""
    settings = {"ROUNDEL_PING": "3600", "ROUNDEL_MAX_STREAMS_PER_USER": "1"}
    site = deploy("haproxy", **settings)
    with closing(site.follow("alice")) as first:
        assert ["hello", "badge"] == list(islice(first, 2))
    # Streams are rejected until its place is free again.
    begin, deadline = [], time.monotonic() + 10
    while begin != ["hello", "badge"] and time.monotonic() < deadline:
        with closing(site.follow("alice")) as second:
            begin = list(islice(second, 2))
    assert ["hello", "badge"] == begin


def test_event_is_not_held_back_by_haproxy(deploy):
    """HAProxy would hold each event for 200 ms, over plain HTTP/1.1.

    The earliest of ten: a busy machine delays some of them.
    """
    site = deploy("haproxy", tls=False)
    delays = []
    with closing(site.follow("alice")) as stream:
        assert ["hello", "badge"] == list(islice(stream, 2))
        for _ in range(10):
            sent = time.monotonic()
            site.nodes[0].notify("alice", "Hello")
            assert "badge" == next(stream)
            delays.append(time.monotonic() - sent)

    assert min(delays) < 0.1


def test_rejected_page_returns_at_the_documented_rate(start, context):
    """A tab above the limit of a user asks every ROUNDEL_RETRY, and then gets in."""
    settings = {"ROUNDEL_MAX_STREAMS_PER_USER": "1", "ROUNDEL_RETRY": "1.5"}
    server = start("serve", "--bind", "127.0.0.1:0", **settings)
    site = Deployment(start, context, [], "", server.url, [server])
    site.open_pages(1)
    site.wait_for_badge(0)
    (first,) = site.pages
    site.open_pages(1)
    _, rejected = site.pages
    rejected.evaluate(
        """() => {
          globalThis.rejectedAt = [];
          stream.addEventListener("bye", () => rejectedAt.push(performance.now()));
        }"""
    )
    rejected.wait_for_function("() => rejectedAt.length === 2")
    before, after = rejected.evaluate("() => rejectedAt")
    first.close()
    site.pages.remove(first)
    site.wait_for_badge(0)

    assert after - before >= 1_500


NAMES = [
    "auth0|507f",
    "a/b",
    "//",
    "%2F",
    "jos\u00e9",
    "a b",
    "a?b#c",
    "{x}",
    "a+b",
    "..a",
]


@pytest.mark.parametrize("proxy", PROXIES)
def test_names_in_paths_pass_the_proxy(deploy, proxy):
    """The proxy neither decodes nor merges what is percent-encoded in a path."""
    site = deploy(proxy)
    headers = {"Authorization": f"Bearer {site.nodes[0].key}"}
    with httpx2.Client(verify=False, headers=headers) as client:
        paths = [f"/v1/users/{quote(name, safe='')}" for name in NAMES]
        answers = [client.delete(f"{site.url}{path}").json() for path in paths]

    assert NAMES == [answer["user"] for answer in answers]


def test_only_the_stream_hides_an_outage(deploy):
    """While no node answers, any other call through nginx is a 502, not a 200."""
    site = deploy("nginx")
    site.nodes[0].stop()
    page = site.context.new_page()

    assert 502 == page.goto(f"{site.url}/v1/badge").status
