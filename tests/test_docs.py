"""The documents tell the truth: their examples run, their links lead somewhere."""

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
from roundel_adapters.testing import AsgiClient
from roundel_service import app as service
from roundel_service import settings as config
from roundel_service.domain import explanation as explain
from roundel_service.domain import items, mailbox
from roundel_service.engines.memory import MAX_CLAIMS
from roundel_service.http import decoding as requests
from roundel_service.http import messages as service_http
from roundel_service.http import schemas
from roundel_service.http.openapi.problems import PROBLEM_EXAMPLES
from roundel_service.identity import tickets
from roundel_service.identity.authenticator import CLOCK_SKEW, MAX_CREDENTIAL
from roundel_service.streams import events as frames
from support.ports import kept_port

__all__ = ["browser", "context", "start"]  # Fixtures are found by their names.

ROOT = Path(__file__).parents[1]
PAGES = sorted([*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md")])
KNOWN = {"http", "python", "sh", "js", "json", "toml", "nginx"}
KNOWN |= {"{toctree}", "{eval-rst}"}

KEY = "a-key-for-my-backend"
SECRET = "a-secret-of-at-least-32-bytes-that-signs-tokens"
START = 1_763_690_000.0
"""When the pages' calls are made, in seconds since 1970; each takes a second."""


def pages(language: str):
    """Mark a test to run for each page that has a block of this language."""
    having = [page for page in PAGES if f"```{language}\n" in page.read_text()]
    names = [page.relative_to(ROOT).as_posix() for page in having]
    return pytest.mark.parametrize("page", having, ids=names)


def blocks(page: Path, language: str) -> list[str]:
    return re.findall(
        rf"^```{language}\n(.*?)^```", page.read_text(), re.MULTILINE | re.DOTALL
    )


@pages("python")
def test_python_blocks_run_in_order(page, tmp_path, monkeypatch):
    """What a page says in Python is true, from its first block to its last."""
    monkeypatch.chdir(tmp_path)
    document = Document.parse(str(page), PythonCodeBlockParser())
    examples = list(document.examples())

    assert examples
    for example in examples:
        example.evaluate()


@pages("json")
def test_json_blocks_are_json(page):
    """An example body can be sent as it is."""
    for block in blocks(page, "json"):
        assert json.loads(block)


@pages("toml")
def test_toml_blocks_are_settings(page, tmp_path):
    """An example file is one that the service starts with."""
    for block in blocks(page, "toml"):
        file = tmp_path / "roundel.toml"
        file.write_text(block)

        assert tomllib.loads(block)
        assert config.load({}, {}, file)


@pages("sh")
def test_commands_exist(page):
    """Each `roundel` command that a page shows is one, with these options."""
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
def test_links_lead_to_what_is_there(page):
    """No page sends its reader into the void."""
    for target in re.findall(r"\]\(([^)#]+)(?:#[^)]*)?\)", page.read_text()):
        if not urlsplit(target).scheme:
            assert (page.parent / target).exists(), target


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_every_block_is_of_a_language_that_is_tested_or_known(page):
    """A block of a new kind brings the test that runs it."""
    languages = re.findall(r"^```(\S+)$", page.read_text(), re.MULTILINE)

    assert set(languages) <= KNOWN


def test_settings_page_names_every_setting_with_its_default():
    """The table is whole, and its defaults are those of the code."""
    table = (ROOT / "docs" / "reference" / "settings.md").read_text()
    rows = dict(
        re.findall(r"^\| `ROUNDEL_(\w+)` \| `?([^|`]+?)`? \|", table, re.MULTILINE)
    )
    given = {"producer_keys": "k", "jwt_secret": "s" * 32}
    defaults = config.load(given, {})

    for name in config.Settings.__annotations__:
        told, value = rows.pop(name.upper()), getattr(defaults, name)
        if name in given:
            assert told.startswith("required")
        elif value in (None, ()):
            assert told == "none"
        elif isinstance(value, float):
            assert float(told) == value
        else:
            assert told == str(value)
    assert rows == {}


def test_readme_is_short():
    """The first page fits into a visit."""
    assert len((ROOT / "README.md").read_text().splitlines()) < 80


def test_picture_of_the_source_is_drawn_from_its_table():
    """The states that a reader sees are those that the code has."""
    script = ROOT / "docs" / "images" / "draw_source.py"
    draw = runpy.run_path(str(script))["draw"]
    picture = (ROOT / "docs" / "images" / "source.svg").read_text()

    assert draw() == picture


def test_reference_has_every_public_name():
    """What can be imported from the core is told of in its reference."""
    page = (ROOT / "docs" / "reference" / "core.md").read_text()
    told = set(re.findall(r"^\.\. auto\w+:: roundel\.(\w+)$", page, re.MULTILINE))
    types = {"ResumeOutcome", "Input", "TRANSITIONS"}

    assert set(roundel.__all__) | {"testing"} == told | types


# Calls, as pages tell them


def blocks_in_order(page: Path) -> Iterator[tuple[str, str, int]]:
    """Yield the language, the content and the line of every block of a page."""
    text = page.read_text()
    for found in re.finditer(r"^```(\S+)\n(.*?)^```", text, re.MULTILINE | re.DOTALL):
        yield found[1], found[2], text.count("\n", 0, found.start()) + 1


@pages("http")
async def test_calls_are_answered_as_told(
    page, mock_clock, nursery, tmp_path, monkeypatch
):
    """A block is a request, or what the service answers to the request before.

    What stands between plays along: a page's settings begin another service, and what
    its Python does has been done.
    """
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("time.time", lambda: START + mock_clock.current_time())
    teller = Teller(nursery, mock_clock)
    for language, text, line in blocks_in_order(page):
        if language == "python":
            source = "\n" * line + text
            exec(compile(source, page, "exec", dont_inherit=True), teller.python)
        elif language == "toml":
            await teller.serve(text)
        elif language == "http" and text.startswith("HTTP/"):
            await teller.compare(Message.read(text))
        elif language == "http":
            await teller.ask(Message.read(text))
    await teller.compare(None)
    nursery.cancel_scope.cancel()


@attrs.frozen
class Message:
    """A request or an answer: its first line, its header and its body."""

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
"""Where answers have words that are others each time."""


@attrs.define
class Teller:
    """Asks what a page asks, and puts what is random in answers into its words."""

    nursery: trio.Nursery
    clock: trio.testing.MockClock
    python: dict[str, Any] = attrs.field(factory=dict)
    service: service.Service | None = None
    token: str = ""
    words: dict[str, str] = attrs.field(factory=dict)
    asked: Message | None = None

    async def serve(self, toml: str = "") -> None:
        given = tomllib.loads(toml) or {"producer_keys": KEY, "jwt_secret": SECRET}
        settings = config.load({"engine": "memory", **given}, {})
        # The clock of a page is read when it is asked for, and not when it is given.
        self.service = service.build(settings, clock=lambda: time.time())
        await self.nursery.start(self.service.run)
        self.words = {}
        if settings.jwt_secret:
            self.token = self.service.authenticator.sign("alice", ttl=3_600)

    async def ask(self, request: Message) -> None:
        """Keep a request until its answer is told; one without has to be answered."""
        if self.service is None:
            await self.serve()
        await self.compare(None)
        self.asked = request

    async def compare(self, told: Message | None) -> None:
        """Send what was asked, and compare the answer with what is told of it."""
        if self.asked is None:
            assert told is None, f"nothing was asked: {told}"
            return
        asked, self.asked = self.asked, None
        self.clock.jump(1.0)
        if told is not None and told.is_stream:
            await self._compare_stream(asked, told)
            return
        method, target, _ = asked.start
        answer = await self._client(asked).request(
            method,
            self._real(target),
            headers=self._headers(asked),
            body=self._real(asked.body).encode(),
        )
        if told is None:
            assert answer.status < 400, (asked, answer)
            return
        self._learn(_parsed(told.body), _parsed(answer.body.decode()))
        body = self.told(answer.body.decode())

        assert (asked.start, told.start[1:]) == (asked.start, _status(answer.status))
        assert told.headers == self._those(told, answer.headers)
        if told.headers.get("Content-Type", "").startswith("text/plain"):
            assert set(told.body.splitlines()) <= set(body.splitlines())
        else:
            assert _parsed(told.body) == _parsed(body)

    async def _compare_stream(self, asked: Message, told: Message) -> None:
        target = self._real(asked.start[1])
        client = self._client(asked)
        async with client.stream(target, headers=self._headers(asked)) as stream:
            await trio.testing.wait_all_tasks_blocked()
            events = stream.ready_events()
        expected = Parser().receive_data(told.body.encode() + b"\n")
        for one, other in zip(expected, events, strict=True):
            self._learn(_parsed(one.data), _parsed(other.data))
            self._learn(_key(one), _key(other))

        assert told.start[1:] == _status(stream.status)
        assert told.headers == self._those(told, stream.headers)
        assert [_event(e) for e in expected] == [
            _event(Event(self.told(e.data), e.type, self.told(e.id or "")))
            for e in events
        ]

    def _client(self, asked: Message) -> AsgiClient:
        assert self.service is not None
        is_operators = asked.headers.get("Host", "").endswith(":9180")
        return AsgiClient(
            self.service.operator_app if is_operators else self.service.app
        )

    def _headers(self, asked: Message) -> dict[str, str]:
        token = self.python.get("token", self.token)
        assert self.service is not None
        key = self.service.authenticator.producer_keys[0]
        proofs = {"Bearer KEY": f"Bearer {key}", "Bearer JWT": f"Bearer {token}"}
        proofs["roundel=JWT"] = f"roundel={token}"
        return {n: proofs.get(v, self._real(v)) for n, v in asked.headers.items()}

    def _those(self, told: Message, headers: Any) -> dict[str, str]:
        return {n: self.told(headers.get(n.lower(), "none")) for n in told.headers}

    def _learn(self, told: Any, actual: Any) -> None:
        """Take what is random for what the page calls it, where it does first."""
        match told, actual:
            case dict(), dict():
                for name in told.keys() & actual.keys():
                    if name in RANDOM and isinstance(told[name], str):
                        self.words.setdefault(actual[name], told[name])
                    self._learn(told[name], actual[name])
            case list(), list():
                for one, other in zip(told, actual, strict=False):
                    self._learn(one, other)

    def told(self, text: str) -> str:
        for actual, word in self.words.items():
            text = text.replace(actual, word)
        return text

    def _real(self, text: str) -> str:
        for actual, word in self.words.items():
            text = text.replace(word, actual)
        return text


def _status(status: int) -> list[str]:
    return [str(status), HTTPStatus(status).phrase]


def _parsed(text: str) -> Any:
    """Read JSON, or JSON a line; whatever else there is stays as it is."""
    text = text.strip()
    for read in (json.loads, lambda text: [*map(json.loads, text.splitlines())]):
        try:
            return read(text)
        except ValueError:
            continue
    return text


def _key(event: Event) -> dict[str, str]:
    """Return the resume key in the id of an event that a ticket's stream tells."""
    found = re.match(r"k\.([^.]+)\.0~", event.id or "")
    return {"key of the ids": found[1]} if found else {}


def _event(event: Event) -> tuple[Any, ...]:
    data = _parsed(event.data)
    # One is drawn by the service, the other hangs on how many calls were made before.
    for name, low, high in [("max_age", 480, 600), ("expires_in", 1, 7_200)]:
        if name in data:
            assert low <= data[name] <= high
            data[name] = low
    return event.type, event.id or "", data


# Tables of the reference


def rows(page: str) -> dict[str, list[str]]:
    """Return the rows of a reference page's tables by their first cells."""
    text = (ROOT / "docs" / "reference" / page).read_text()
    told = [line.strip("| ").split(" | ") for line in text.splitlines()]
    return {cells[0].strip("`"): cells[1:] for cells in told if len(cells) > 1}


def test_problems_page_names_every_problem_with_its_status():
    """A program can be written by the table."""
    told = {name: cells[0] for name, cells in rows("problems.md").items()}
    made = {name: str(each.problem.status) for name, each in PROBLEM_EXAMPLES.items()}

    assert made == {name: told[name] for name in told if told[name].isdecimal()}


async def test_metrics_page_names_every_series_with_its_type():
    """What a scrape finds is in the table, and nothing else is."""
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

    told = {name: cells[0] for name, cells in rows("metrics.md").items()}
    assert found == {name: told[name] for name in told if "_" in name}


LIMITS = {
    "body of a call, bytes": requests.MAX_BODY,
    "line of a batch, bytes": requests.MAX_LINE,
    "item, bytes as JSON": requests.MAX_ITEM,
    "query, bytes": service_http.MAX_QUERY,
    "token or ticket, characters": MAX_CREDENTIAL,
    "seconds that `iat` and `nbf` may be ahead": CLOCK_SKEW,
    "`op_id`s that a mailbox remembers for 24 hours, and as many `Idempotency-Key`s": (
        mailbox.MAX_OP_IDS
    ),
    "keys with their bodies, and used tickets, that a process remembers": MAX_CLAIMS,
    "categories of a mailbox, those of items and gauges together": (
        items.MailboxLimits().categories
    ),
    "items of a snapshot": frames.PAGE,
    "operations that are explained": explain.LAST,
    "`ttl`, seconds": schemas.MAX_TTL,
    "seconds for a body, or for the next line of a batch": service_http.BODY_TIMEOUT,
    "head of a request, bytes": server.ServerLimits().max_head,
    "seconds for a head": server.ServerLimits().head_timeout,
    "seconds between two requests of a connection": (
        server.ServerLimits().keep_alive_timeout
    ),
    "connections beyond the streams": service.SPARE_CONNECTIONS,
    "seconds for the first use of a ticket": tickets.TICKET_TTL,
    "seconds that a ticket reopens its stream, `session`": tickets.MAX_SESSION,
}


@pytest.mark.parametrize(("what", "limit"), LIMITS.items(), ids=LIMITS)
def test_limits_are_those_of_the_code(what, limit):
    """The number that a page tells is the number that holds."""
    assert rows("http.md")[what.strip("`")][0] == f"{limit:,.0f}"


def test_limits_with_a_setting_are_told_with_its_default():
    """Whatever can be set has the default that the settings have."""
    given = {"producer_keys": KEY, "jwt_secret": SECRET}
    defaults = config.load(given, {})
    told = [
        (found[1].lower(), cells[0])
        for what, cells in rows("http.md").items()
        if (found := re.search(r", `ROUNDEL_(\w+)`?$", what))
    ]

    assert len(told) == 7
    for name, value in told:
        assert value == f"{getattr(defaults, name):,.0f}"


# What pages tell to do in a shell or in a page


@pytest.fixture
def port() -> Iterator[int]:
    with kept_port() as port:
        yield port


def commands(page: Path) -> list[str]:
    """Return the blocks that call a service, without what starts one."""
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
def test_curl_is_answered(page, port, start, lacking, tmp_path):
    """Every call that a page makes from a shell is answered, and none is refused."""
    if shutil.which("curl") is None:
        lacking("expected curl")
    operators = f"127.0.0.1:{port}"
    proofs = {"ROUNDEL_PRODUCER_KEYS": KEY, "ROUNDEL_JWT_SECRET": SECRET}
    settings = {**proofs, "ROUNDEL_OPS_BIND": operators}
    server: Server = start("serve", "--bind", "127.0.0.1:0", **settings)
    (tmp_path / ".curlrc").write_text("fail\nsilent\nshow-error\nmax-time = 2\n")
    folder = Path(sys.executable).parent
    path = f"{folder}{os.pathsep}{os.environ['PATH']}"
    environment = {**os.environ, **proofs, "PATH": path, "CURL_HOME": str(tmp_path)}
    for block in commands(page):
        script = block.replace("127.0.0.1:8080", server.address)
        script = script.replace("127.0.0.1:9180", operators)
        done = subprocess.run(
            ["bash", "-euc", script], env=environment, capture_output=True, text=True
        )

        # A stream goes on, and is left after its time; it is the last of its block.
        assert done.returncode in (0, 28 if "curl -N" in block else 0), done.stderr
        assert done.stdout


def script_of(page: str) -> str:
    (script,) = blocks(ROOT / "docs" / page, "js")
    return script


def token_of(server: Server, ttl: float = 3600) -> str:
    given = {"producer_keys": server.key, "jwt_secret": server.secret}
    return service.build_authenticator(config.load(given, {})).sign("alice", ttl=ttl)


def site(context: BrowserContext, url: str) -> Any:
    """Open a page with a bell, and with what a script has to be given."""
    page = context.new_page()
    # A page that is served: made up ones may not call this machine in Chromium.
    page.goto(f"{url}/livez")
    page.evaluate("""() => {
      document.body.innerHTML = "<b id=bell>";
      show = ({ unread }) => { bell.textContent = unread; };
    }""")
    return page


def wait_for(page: Any, text: str) -> None:
    page.wait_for_function("text => bell.textContent === text", arg=text)


@pytest.mark.slow
def test_client_of_the_reference_follows_the_badge(start: Start, context):
    """The lines that the page tells show the number, over a restart as well."""
    server = start("serve", "--bind", "127.0.0.1:0")
    cookie = {"name": "roundel", "value": token_of(server), "url": server.url}
    context.add_cookies([cookie])
    page = site(context, server.url)
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


@pytest.mark.slow
def test_script_of_another_origin_follows_the_badge(port, start: Start, context):
    """A ticket opens the stream, and the next one does when the token has run out."""
    # By its name this machine is another origin than by its number.
    origin = f"http://localhost:{port}"
    server = start("serve", "--bind", f"127.0.0.1:{port}", ROUNDEL_CORS_ORIGINS=origin)
    page = site(context, origin)
    script = script_of("how-to/call-from-another-origin.md")
    script = script.replace("https://badges.example.org", server.url)
    page.evaluate(
        f"""(tokens) => {{
          const renew = async () => {{ bell.title = "renewed"; return tokens[1]; }};
          {script}
          follow(tokens[0]);
        }}""",
        [token_of(server, ttl=2), token_of(server)],
    )

    wait_for(page, "0")
    page.wait_for_function("() => bell.title === 'renewed'")
    server.notify("alice", "Hello")
    wait_for(page, "1")
