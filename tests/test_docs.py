"""The documentation: examples run, links resolve, and tables match the code."""

from __future__ import annotations

import json
import os
import re
import runpy
import shutil
import subprocess
import sys
import time
import tomllib
from collections.abc import Iterator
from http import HTTPStatus
from pathlib import Path
from types import ModuleType
from typing import Any
from urllib.parse import urlsplit

import attrs
import pytest
import trio
import trio.testing
from playwright.sync_api import BrowserContext
from prometheus_client.parser import text_string_to_metric_families
from sybil.document import Document
from sybil.parsers.markdown import PythonCodeBlockParser

import roundel
from browser.conftest import Server, Start, browser, context, start
from roundel import Event, Parser
from roundel_adapters import server
from roundel_adapters.testing import STREAM_PROMISES, AsgiClient
from roundel_service import app as service
from roundel_service import settings as config
from roundel_service.domain import idempotency, items
from roundel_service.domain.items import MAX_ITEM_SIZE
from roundel_service.engines.memory import MAX_CLAIMS
from roundel_service.http import decoding as requests
from roundel_service.http import explanation, problems, schemas
from roundel_service.http import messages as service_http
from roundel_service.http.openapi.examples import PROBLEM_EXAMPLES
from roundel_service.identity import tickets
from roundel_service.identity.authenticator import CLOCK_SKEW, MAX_CREDENTIAL
from roundel_service.streams import events
from support.frameworks import django_app
from support.ports import reserved_port

__all__ = ["browser", "context", "start"]  # Fixtures are found by their names.

assert django_app.settings.configured  # Once a process: no page has to.

ROOT = Path(__file__).parents[1]
PAGES = sorted([*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md")])
KNOWN = {"http", "html", "python", "sh", "js", "php", "json", "toml"}
KNOWN |= {"nginx", "text", "ini", "yaml", "dockerfile", "{toctree}", "{eval-rst}"}

KEY = "a-key-for-my-backend"
SECRET = "a-secret-of-at-least-32-bytes-that-signs-tokens"
START = 1_763_690_000.0
"""Time of the first call of a page, in seconds since 1970; each call takes 1 s."""


def pages(language: str):
    """Mark a test to run for each page that has a block of this language."""
    matching = [page for page in PAGES if f"```{language}\n" in page.read_text()]
    names = [page.relative_to(ROOT).as_posix() for page in matching]
    return pytest.mark.parametrize("page", matching, ids=names)


def blocks(page: Path, language: str) -> list[str]:
    return re.findall(
        rf"^```{language}\n(.*?)^```", page.read_text(), re.MULTILINE | re.DOTALL
    )


@pages("python")
def test_python_blocks_run_in_order(page, tmp_path, monkeypatch, start: Start):
    """The Python blocks of a page run in order, with a service if they call one."""
    monkeypatch.chdir(tmp_path)
    if 'os.environ["ROUNDEL_URL"]' in page.read_text():
        server = start("serve", "--bind", "127.0.0.1:0")
        monkeypatch.setenv("ROUNDEL_URL", server.url)
        monkeypatch.setenv("ROUNDEL_KEY", server.key)
        monkeypatch.setenv("ROUNDEL_TOKEN", server.token("alice"))
    document = Document.parse(str(page), PythonCodeBlockParser())
    # Frameworks look up the annotations of a function in its module.
    module = ModuleType("page")
    monkeypatch.setitem(sys.modules, "page", module)
    document.namespace = vars(module)
    examples = list(document.examples())

    assert examples
    for example in examples:
        if not FILE.match(example.parsed):
            example.evaluate()


FILE = re.compile(r"# (\S+\.py)\n")
"""The first line of a block that is a whole file."""

FILE_TEST = re.compile(r"^(?:async )?def test_", re.MULTILINE)


def files_of(page: Path) -> dict[str, str]:
    """Return the blocks of a page that are whole files, by their names."""
    return {
        found[1]: block
        for block in blocks(page, "python")
        if (found := FILE.match(block))
    }


WITH_TESTS = [p for p in PAGES if any(n.startswith("test_") for n in files_of(p))]


@pytest.mark.slow
@pytest.mark.parametrize("page", WITH_TESTS, ids=lambda page: page.name)
def test_test_files_of_a_page_pass(page, tmp_path):
    """pytest runs the test files of a page, with the plugin and without warnings."""
    for name, content in files_of(page).items():
        (tmp_path / name).write_text(content)
    plugins = ["roundel_service.pytest_plugin", "anyio.pytest_plugin"]
    options = [f"-p{name}" for name in [*plugins, "pytest_trio.plugin"]]
    # The options of this run need plugins that are not loaded there.
    inherited = {k: v for k, v in os.environ.items() if k != "PYTEST_ADDOPTS"}
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-W", "error", *options, tmp_path],
        cwd=tmp_path,
        env={**inherited, "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1"},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    tests = FILE_TEST.findall("".join(files_of(page).values()))
    passed = re.search(r"(\d+) passed", done.stdout)

    assert done.returncode == 0, done.stdout + done.stderr
    # A test of anyio runs on two event loops.
    assert int(passed[1]) >= len(tests)


def test_reference_has_every_promise_of_an_event_stream():
    """The table of the reference is that of the code."""
    page = (ROOT / "docs" / "reference" / "testing.md").read_text()
    rows = re.findall(r"^\| `(\w+)`: (.+) \| \*(\w+)\* \|$", page, re.MULTILINE)

    assert rows == [
        (promise.name, str(promise), promise.needs or "publish")
        for promise in STREAM_PROMISES
    ]


@pages("json")
def test_json_blocks_are_json(page):
    """Each JSON block parses."""
    for block in blocks(page, "json"):
        assert json.loads(block)


@pages("toml")
def test_toml_blocks_are_settings(page, tmp_path):
    """The service starts with each TOML block as its settings."""
    for block in blocks(page, "toml"):
        file = tmp_path / "roundel.toml"
        file.write_text(block)

        assert tomllib.loads(block)
        assert config.load({}, {}, file)


@pages("sh")
def test_commands_exist(page):
    """Each `roundel` command in a shell block exists and has the options shown."""
    text = "\n".join(blocks(page, "sh"))
    for line in re.findall(r"(?:^|\(|/)roundel (\w+[^)&\n]*)", text, re.MULTILINE):
        command, *arguments = line.split()
        options = [word for word in arguments if word.startswith("--")]
        shown = subprocess.run(
            [sys.executable, "-m", "roundel_service", command, "--help"],
            capture_output=True,
            text=True,
            check=True,
        ).stdout

        assert all(option in shown for option in options), line


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_resolve(page):
    """Each relative link points to an existing file."""
    for target in re.findall(r"\]\(([^)#]+)(?:#[^)]*)?\)", page.read_text()):
        if not urlsplit(target).scheme:
            assert (page.parent / target).exists(), target


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_every_block_is_of_a_language_that_is_tested_or_known(page):
    """Each code block has a language that a test runs or that is known."""
    languages = re.findall(r"^```(\S+)$", page.read_text(), re.MULTILINE)

    assert set(languages) <= KNOWN


def test_settings_page_names_every_setting_with_its_default():
    """The table of settings is complete, and its defaults are the code's."""
    table = (ROOT / "docs" / "reference" / "settings.md").read_text()
    rows = dict(
        re.findall(r"^\| `ROUNDEL_(\w+)` \| `?([^|`]+?)`? \|", table, re.MULTILINE)
    )
    given = {"producer_keys": KEY, "jwt_secret": "s" * 32}
    defaults = config.load(given, {})

    for name in config.Settings.__annotations__:
        documented, value = rows.pop(name.upper()), getattr(defaults, name)
        if name in given:
            assert documented.startswith("required")
        elif value in (None, ()):
            assert documented == "none"
        elif isinstance(value, float):
            assert float(documented) == value
        elif isinstance(value, tuple):
            assert documented == ",".join(map(str, value))
        else:
            assert documented == str(value)
    assert rows == {}


def test_readme_is_short():
    """The README has fewer than 90 lines."""
    assert len((ROOT / "README.md").read_text().splitlines()) < 90


@pytest.mark.parametrize("name", ["architecture", "source"])
def test_drawn_picture_is_up_to_date(name):
    """The picture in the docs equals the output of its script."""
    images = ROOT / "docs" / "images"
    draw = runpy.run_path(str(images / f"draw_{name}.py"))["draw"]
    picture = (images / f"{name}.svg").read_text()

    assert draw() == picture


def test_reference_has_every_public_name():
    """The reference documents each public name of the core."""
    page = (ROOT / "docs" / "reference" / "core.md").read_text()
    documented = set(re.findall(r"^\.\. auto\w+:: roundel\.(\w+)$", page, re.MULTILINE))
    types = {"ResumeOutcome", "Input", "TRANSITIONS"}

    assert set(roundel.__all__) | {"testing"} == documented | types


# HTTP requests and responses in the docs


def blocks_in_order(page: Path) -> Iterator[tuple[str, str, int]]:
    """Yield the language, the content and the line of every block of a page."""
    text = page.read_text()
    for found in re.finditer(r"^```(\S+)\n(.*?)^```", text, re.MULTILINE | re.DOTALL):
        yield found[1], found[2], text.count("\n", 0, found.start()) + 1


@pages("http")
async def test_http_blocks_are_answered_as_documented(
    page, mock_clock, nursery, tmp_path, monkeypatch
):
    """An HTTP block is a request, or the response to the request before it.

    A TOML block starts another service with these settings. Python blocks run in order.
    """
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("time.time", lambda: START + mock_clock.current_time())
    runner = PageRunner(nursery, mock_clock)
    for language, text, line in blocks_in_order(page):
        if language == "python":
            source = "\n" * line + text
            exec(compile(source, page, "exec", dont_inherit=True), runner.python)
        elif language == "toml":
            await runner.serve(text)
        elif language == "http" and text.startswith("HTTP/"):
            await runner.compare(Message.read(text))
        elif language == "http":
            await runner.store_request(Message.read(text))
    await runner.compare(None)
    nursery.cancel_scope.cancel()


@attrs.frozen
class Message:
    """A request or a response: its start line, headers and body."""

    start: list[str]
    headers: dict[str, str]
    body: str

    @classmethod
    def read(cls, text: str) -> Message:
        head, _, body = text.partition("\n\n")
        first, *fields = head.strip().split("\n")
        return cls(first.split(" ", 2), dict(f.split(": ", 1) for f in fields), body)

    @property
    def is_stream(self) -> bool:
        return self.headers.get("Content-Type", "").startswith("text/event-stream")


RANDOM = ("epoch", "item", "id", "add", "ticket", "key of the ids")
"""Fields whose values are random."""


@attrs.define
class PageRunner:
    """Sends the requests of a page, and replaces random values by those on the page."""

    nursery: trio.Nursery
    clock: trio.testing.MockClock
    python: dict[str, Any] = attrs.field(factory=dict)
    service: service.Service | None = None
    token: str = ""
    names: dict[str, str] = attrs.field(factory=dict)
    request: Message | None = None

    async def serve(self, toml: str = "") -> None:
        given = tomllib.loads(toml) or {"producer_keys": KEY, "jwt_secret": SECRET}
        settings = config.load({"engine": "memory", **given}, {})
        # Looked up at each call: the test replaces `time.time` for the page.
        self.service = service.build(settings, clock=lambda: time.time())
        await self.nursery.start(self.service.run)
        self.names = {}
        if settings.jwt_secret:
            self.token = self.service.authenticator.sign("alice", ttl=3_600)

    async def store_request(self, request: Message) -> None:
        """Store a request until its response follows; send the stored one first."""
        if self.service is None:
            await self.serve()
        await self.compare(None)
        self.request = request

    async def compare(self, documented: Message | None) -> None:
        """Send the stored request, and compare the response with the documented one."""
        if self.request is None:
            assert documented is None, f"a response without a request: {documented}"
            return
        request, self.request = self.request, None
        self.clock.jump(1.0)
        if documented is not None and documented.is_stream:
            await self._compare_stream(request, documented)
            return
        method, target, _ = request.start
        response = await self._client(request).request(
            method,
            self._with_real_values(target),
            headers=self._headers(request),
            body=self._with_real_values(request.body).encode(),
        )
        if documented is None:
            assert response.status < 400, (request, response)
            return
        self._learn_names(_parsed(documented.body), _parsed(response.body.decode()))
        body = self._as_documented(response.body.decode())

        assert (request.start, documented.start[1:]) == (
            request.start,
            _status(response.status),
        )
        assert documented.headers == self._named_headers(documented, response.headers)
        if documented.headers.get("Content-Type", "").startswith("text/plain"):
            assert set(documented.body.splitlines()) <= set(body.splitlines())
        else:
            assert _parsed(documented.body) == _parsed(body)

    async def _compare_stream(self, request: Message, documented: Message) -> None:
        target = self._with_real_values(request.start[1])
        client = self._client(request)
        async with client.stream(target, headers=self._headers(request)) as stream:
            await trio.testing.wait_all_tasks_blocked()
            received = stream.ready_events()
        expected = Parser().receive_data(documented.body.encode() + b"\n")
        for one, other in zip(expected, received, strict=True):
            self._learn_names(_parsed(one.data), _parsed(other.data))
            self._learn_names(_key(one), _key(other))

        assert documented.start[1:] == _status(stream.status)
        assert documented.headers == self._named_headers(documented, stream.headers)
        assert [_event(e) for e in expected] == [
            _event(
                Event(
                    self._as_documented(e.data), e.type, self._as_documented(e.id or "")
                )
            )
            for e in received
        ]

    def _as_documented_event(self, event: Event) -> Event:
        data, last_event_id = map(self._as_documented, (event.data, event.id or ""))
        return Event(data, event.type, last_event_id)

    def _client(self, request: Message) -> AsgiClient:
        assert self.service is not None
        is_operators = request.headers.get("Host", "").endswith(":9180")
        return AsgiClient(
            self.service.operator_app if is_operators else self.service.app
        )

    def _headers(self, request: Message) -> dict[str, str]:
        token = self.python.get("token", self.token)
        assert self.service is not None
        key = self.service.authenticator.producer_keys[0]
        credentials = {"Bearer KEY": f"Bearer {key}", "Bearer JWT": f"Bearer {token}"}
        credentials["roundel=JWT"] = f"roundel={token}"
        return {
            n: credentials.get(v, self._with_real_values(v))
            for n, v in request.headers.items()
        }

    def _named_headers(self, documented: Message, headers: Any) -> dict[str, str]:
        return {
            n: self._as_documented(headers.get(n.lower(), "none"))
            for n in documented.headers
        }

    def _learn_names(self, documented: Any, actual: Any) -> None:
        """Map each random value to the one on the page, at its first occurrence."""
        match documented, actual:
            case dict(), dict():
                for name in documented.keys() & actual.keys():
                    if name in RANDOM and isinstance(documented[name], str):
                        self.names.setdefault(actual[name], documented[name])
                    self._learn_names(documented[name], actual[name])
            case list(), list():
                for one, other in zip(documented, actual, strict=False):
                    self._learn_names(one, other)

    def _as_documented(self, text: str) -> str:
        for actual, word in self.names.items():
            text = text.replace(actual, word)
        return text

    def _with_real_values(self, text: str) -> str:
        for actual, word in self.names.items():
            text = text.replace(word, actual)
        return text


def _status(status: int) -> list[str]:
    return [str(status), HTTPStatus(status).phrase]


def _parsed(text: str) -> Any:
    """Parse JSON or NDJSON; return other text unchanged."""
    text = text.strip()
    for read in (json.loads, lambda text: [*map(json.loads, text.splitlines())]):
        try:
            return read(text)
        except ValueError:
            continue
    return text


def _key(event: Event) -> dict[str, str]:
    """Return the resume key in the id of an event of a ticket's stream."""
    found = re.match(r"k\.([^.]+)\.0~", event.id or "")
    return {"key of the ids": found[1]} if found else {}


def _event(event: Event) -> tuple[Any, ...]:
    data = _parsed(event.data)
    # `max_age` is random; `expires_in` depends on the number of earlier calls.
    for name, low, high in [("max_age", 480, 600), ("expires_in", 1, 7_200)]:
        if name in data:
            assert low <= data[name] <= high
            data[name] = low
    return event.type, event.id or "", data


# Tables of the reference


def rows(page: str) -> dict[str, list[str]]:
    """Return the rows of a reference page's tables by their first cells."""
    text = (ROOT / "docs" / "reference" / page).read_text()
    documented = [line.strip("| ").split(" | ") for line in text.splitlines()]
    return {cells[0].strip("`"): cells[1:] for cells in documented if len(cells) > 1}


def test_problems_page_names_every_problem_with_its_status():
    """The table has each problem type with its status."""
    documented = {name: cells[0] for name, cells in rows("problems.md").items()}
    made = {name: str(each.status) for name, each in PROBLEM_EXAMPLES.items()}

    assert made == {
        name: documented[name] for name in documented if documented[name].isdecimal()
    }


async def test_metrics_page_names_every_series_with_its_type():
    """The table has exactly the series of a scrape."""
    given = {"engine": "memory", "producer_keys": KEY, "jwt_secret": SECRET}
    settings = config.load(given, {})
    metrics = service.build(settings).hub.metrics
    metrics.requested("GET", "/livez", 200, 0.1)
    found = {}
    for family in text_string_to_metric_families(metrics.text().decode()):
        sample = family.samples[0]
        labels = ",".join(name for name in sample.labels if name != "le")
        name = family.name + "_total" * (family.type == "counter")
        found[name + f"{{{labels}}}" * bool(labels)] = family.type

    documented = {name: cells[0] for name, cells in rows("metrics.md").items()}
    assert found == {name: documented[name] for name in documented if "_" in name}


LIMITS = {
    "body of a call, bytes": requests.MAX_BODY,
    "line of a batch, bytes": requests.MAX_LINE,
    "item, bytes as JSON": MAX_ITEM_SIZE,
    "`data` as sent, bytes with white space and escapes": schemas.MAX_RAW_DATA,
    "texts in the body of a call": requests.MAX_TEXTS,
    "bad fields that a problem names": problems.MAX_ERRORS,
    "recipients of a call": schemas.MAX_USERS,
    "operations of a call": schemas.MAX_OPS,
    "query, bytes": service_http.MAX_QUERY,
    "path and query, bytes": service_http.MAX_TARGET,
    "parameters of a query, except the stream's": requests.MAX_PARAMETERS,
    "token or ticket, characters": MAX_CREDENTIAL,
    "seconds that `iat` and `nbf` may be ahead": CLOCK_SKEW,
    "`op_id`s that a mailbox remembers for 24 hours, and as many `Idempotency-Key`s": (
        idempotency.MAX_OP_IDS
    ),
    "keys with their bodies, and used tickets, that a process remembers": MAX_CLAIMS,
    "categories of a mailbox, those of items and gauges together": (
        items.MailboxLimits().categories
    ),
    "items of a snapshot": events.SNAPSHOT_ITEMS,
    "operations that are explained": explanation.MAX_OPERATIONS,
    "`ttl`, seconds": schemas.MAX_TTL,
    "`ttl` to a topic, seconds": schemas.MAX_TOPIC_TTL,
    "seconds until an item that waits appears": schemas.MAX_AHEAD,
    "seconds for a body, or for the next line of a batch": service_http.BODY_TIMEOUT,
    "head of a request, bytes": server.ServerLimits().max_head,
    "seconds for a head": server.ServerLimits().head_timeout,
    "seconds between two requests of a connection": (
        server.ServerLimits().keep_alive_timeout
    ),
    "open requests of an HTTP/2 connection": server.ServerLimits().max_streams,
    "HTTP/2 frames without content, such as PING, SETTINGS and resets": (
        server.ServerLimits().max_overhead
    ),
    "connections beyond the streams": service.SPARE_CONNECTIONS,
    "seconds for the first use of a ticket": tickets.TICKET_TTL,
    "seconds that a ticket reopens its stream, `session`": tickets.MAX_SESSION,
}


@pytest.mark.parametrize(("what", "limit"), LIMITS.items(), ids=LIMITS)
def test_limits_are_those_of_the_code(what, limit):
    """A documented limit is the limit in the code."""
    assert rows("http.md")[what.strip("`")][0] == f"{limit:,.0f}"


def test_limits_with_a_setting_have_its_default():
    """A documented limit with a setting has the default of that setting."""
    given = {"producer_keys": KEY, "jwt_secret": SECRET}
    defaults = config.load(given, {})
    documented = [
        (found[1].lower(), cells[0])
        for what, cells in rows("http.md").items()
        if (found := re.search(r", `ROUNDEL_(\w+)`?$", what))
    ]

    assert len(documented) == 12
    for name, value in documented:
        assert value == f"{getattr(defaults, name):,.0f}"


# Shell and browser examples in the docs


@pytest.fixture
def port() -> Iterator[int]:
    with reserved_port() as port:
        yield port


def commands(page: Path) -> list[str]:
    """Return the blocks with curl, without the line that starts the service."""
    return [
        re.sub(r"^roundel serve.*\n", "", block, flags=re.MULTILINE)
        for block in blocks(page, "sh")
        if re.search(r"^curl ", block, re.MULTILINE)
    ]


@pytest.mark.slow
@pytest.mark.parametrize(
    "page",
    [*filter(commands, PAGES)],
    ids=lambda page: page.relative_to(ROOT).as_posix(),
)
def test_curl_examples_succeed(page, port, start, lacking, tmp_path):
    """Each curl example gets a successful response."""
    if shutil.which("curl") is None:
        lacking("expected curl")
    operators = f"127.0.0.1:{port}"
    credentials = {"ROUNDEL_PRODUCER_KEYS": KEY, "ROUNDEL_JWT_SECRET": SECRET}
    settings = {**credentials, "ROUNDEL_OPS_BIND": operators}
    server: Server = start("serve", "--bind", "127.0.0.1:0", **settings)
    (tmp_path / ".curlrc").write_text(
        "fail-with-body\nsilent\nshow-error\nmax-time = 2\n"
    )
    folder = Path(sys.executable).parent
    path = f"{folder}{os.pathsep}{os.environ['PATH']}"
    environment = {
        **os.environ,
        **credentials,
        "PATH": path,
        "CURL_HOME": str(tmp_path),
        "ROUNDEL_URL": server.url,
        "ROUNDEL_KEY": KEY,
    }
    for block in commands(page):
        script = block.replace("127.0.0.1:8080", server.address)
        script = script.replace("127.0.0.1:9180", operators)
        done = subprocess.run(
            ["bash", "-euc", script],
            cwd=tmp_path,
            env=environment,
            capture_output=True,
            text=True,
        )

        # curl leaves a stream after `max-time`; the stream is the last in its block.
        assert done.returncode in (0, 28 if "curl -N" in block else 0), done.stderr
        assert done.stdout


def script_of(page: str) -> str:
    (script,) = blocks(ROOT / "docs" / page, "js")
    return script


def token_of(server: Server, ttl: float = 3600) -> str:
    given = {"producer_keys": server.key, "jwt_secret": server.secret}
    return service.build_authenticator(config.load(given, {})).sign("alice", ttl=ttl)


def open_page(context: BrowserContext, url: str) -> Any:
    """Open a page with an element for the number and a function that sets it."""
    page = context.new_page()
    # A served page: Chromium lets synthetic pages not connect to loopback.
    page.goto(f"{url}/livez")
    page.evaluate("""() => {
      document.body.innerHTML = "<b id=counter>";
      show = ({ unread }) => { counter.textContent = unread; };
    }""")
    return page


def wait_for(page: Any, text: str) -> None:
    page.wait_for_function("text => counter.textContent === text", arg=text)


@pytest.mark.slow
def test_client_of_the_reference_follows_the_badge(start: Start, context):
    """The documented client shows the number, also after a restart."""
    server = start("serve", "--bind", "127.0.0.1:0")
    cookie = {"name": "roundel", "value": token_of(server), "url": server.url}
    context.add_cookies([cookie])
    page = open_page(context, server.url)
    page.evaluate(
        f"() => {{ const renew = () => {{}}; {script_of('reference/http.md')} }}"
    )

    wait_for(page, "0")
    server.notify("alice", "Hello")
    wait_for(page, "1")
    server.stop()
    again = start("serve", "--bind", server.address)
    wait_for(page, "0")
    again.notify("alice", "Hello")
    again.notify("alice", "Hello again")
    wait_for(page, "2")


def fail_like_a_proxy(page: Any, pattern: str, times: int) -> list[str]:
    """Answer the next requests with an error page; return the list of them."""
    failed: list[str] = []

    def fail(route: Any) -> None:
        if len(failed) < times:
            failed.append(route.request.url)
            route.fulfill(status=502, content_type="text/html", body="Bad Gateway")
        else:
            route.continue_()

    page.route(pattern, fail)
    return failed


@pytest.mark.slow
@pytest.mark.parametrize("pattern", ["**/v1/stream*", "**/v1/*"])
def test_client_of_the_reference_survives_a_proxy_error(start: Start, context, pattern):
    """The 502 of a proxy logs no user out: the client tries again until it is live."""
    server = start("serve", "--bind", "127.0.0.1:0")
    cookie = {"name": "roundel", "value": token_of(server), "url": server.url}
    context.add_cookies([cookie])
    page = open_page(context, server.url)
    failed = fail_like_a_proxy(page, pattern, times=4)
    script = script_of("reference/http.md").replace("5_000", "50")
    page.evaluate(f"""() => {{
      const renew = () => {{}}, leave = () => {{ counter.title = "left"; }};
      {script}
    }}""")

    wait_for(page, "0")
    server.notify("alice", "Hello")
    wait_for(page, "1")
    assert 4 == len(failed)
    assert "" == page.evaluate("() => counter.title")


@pytest.mark.slow
@pytest.mark.parametrize("end", ["no cookie", "revoked"])
def test_client_of_the_reference_leaves_without_a_proof(start: Start, context, end):
    """After a 401, and after the 204 of a revocation, the user has to log in again."""
    server = start("serve", "--bind", "127.0.0.1:0")
    page = open_page(context, server.url)
    if end == "revoked":
        cookie = {"name": "roundel", "value": token_of(server), "url": server.url}
        context.add_cookies([cookie])
        server.revoke("alice")
    page.evaluate(f"""() => {{
      const renew = () => {{}}, leave = () => {{ counter.textContent = "left"; }};
      {script_of("reference/http.md")}
    }}""")

    wait_for(page, "left")


@pytest.mark.slow
def test_script_of_another_origin_survives_a_proxy_error(port, start: Start, context):
    """Neither a ticket nor a stream that fails ends the script."""
    origin = f"http://localhost:{port}"
    server = start("serve", "--bind", f"127.0.0.1:{port}", ROUNDEL_CORS_ORIGINS=origin)
    page = open_page(context, origin)
    failed = fail_like_a_proxy(page, "**/v1/*", times=3)
    script = script_of("how-to/call-from-another-origin.md")
    for text, changed in (
        ("https://badges.example.org", server.url),
        ("1_000", "10"),
        ("4_000", "10"),
    ):
        script = script.replace(text, changed)
    page.evaluate(
        f"""(token) => {{
          const renew = async () => token;
          {script}
          renew().then(follow).catch(again);
        }}""",
        token_of(server),
    )

    wait_for(page, "0")
    assert 3 == len(failed)


@pytest.mark.slow
def test_script_of_another_origin_follows_the_badge(port, start: Start, context):
    """A ticket opens the stream; after the token has expired, a new ticket does."""
    # The origin of `localhost` differs from that of 127.0.0.1.
    origin = f"http://localhost:{port}"
    server = start("serve", "--bind", f"127.0.0.1:{port}", ROUNDEL_CORS_ORIGINS=origin)
    page = open_page(context, origin)
    script = script_of("how-to/call-from-another-origin.md")
    script = script.replace("https://badges.example.org", server.url)
    page.evaluate(
        f"""(tokens) => {{
          const renew = async () => {{ counter.title = "renewed"; return tokens[1]; }};
          {script}
          follow(tokens[0]);
        }}""",
        [token_of(server, ttl=2), token_of(server)],
    )

    wait_for(page, "0")
    page.wait_for_function("() => counter.title === 'renewed'")
    server.notify("alice", "Hello")
    wait_for(page, "1")
