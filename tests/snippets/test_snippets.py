"""The snippets of the docs, in each language: generated, and run with the service."""

from __future__ import annotations

import contextlib
import io
import json
import os
import runpy
import shutil
import subprocess
from operator import attrgetter
from pathlib import Path

import attrs
import httpx2
import pytest

from roundel_service.client import BadgeClient
from roundel_service.http.openapi.operations import OPERATIONS
from support.http_answers import playing
from support.process import SECRETS, environment, started, token

FOLDER = Path(__file__).parents[2] / "docs" / "snippets"
WRITER = runpy.run_path(str(FOLDER / "write_page.py"))
CALLS = WRITER["TABLE"]["calls"]
KEY = SECRETS["ROUNDEL_PRODUCER_KEYS"]
COMMANDS = {"curl": ["bash"], "Node": ["node"], "PHP": ["php"]}
ENDINGS = {"curl": "sh", "Python": "py", "Node": "mjs", "PHP": "php"}
PROBLEM = {
    "type": "urn:roundel:problem:x", "title": "X", "status": 422, "detail": "is wrong"
}  # fmt: skip


def test_page_is_that_of_the_table():
    """The page equals the output of its script."""
    assert WRITER["page"]() == WRITER["PAGE"].read_text()


def test_table_has_every_call_of_a_producer():
    """No call of a producer is without snippets."""
    expected = {each.id for each in OPERATIONS if "producerKey" in each.security}

    assert expected == {call["operation"] for call in CALLS}


@attrs.frozen
class Session:
    """A service, and what the calls before have done."""

    url: str
    client: BadgeClient
    token_of_bob: str
    epoch_of_bob: str

    def unread(self, user: str) -> dict[str, int]:
        badge = self.client.badge(user)
        return {name: count.unread for name, count in badge.by.items()}

    def status(self, target: str, bearer: str = "") -> int:
        headers = {"Authorization": f"Bearer {bearer}"} if bearer else {}
        with httpx2.stream("GET", self.url + target, headers=headers) as response:
            return response.status_code


def check_ticket(session: Session, output: str) -> None:
    # Of the types, that of Python does not show the ticket.
    if output.startswith("{"):
        assert 200 == session.status(json.loads(output)["url"])
    else:
        assert "expires_in=60" in output


def check_equal(expected: object, found: object) -> None:
    assert expected == found


EFFECTS = {
    "notify": lambda s, _: check_equal(
        [{"mention": 1}] * 2, [s.unread("alice"), s.unread("bob")]
    ),
    "batch": lambda s, _: check_equal(
        [{"mention": 1, "dm": 1}] * 2, [s.unread("alice"), s.unread("bob")]
    ),
    "update": lambda s, _: check_equal(
        [{"mention": 1, "dm": 1}, "update"],
        [s.unread("alice"), s.client.explain("alice").operations[0].operation],
    ),
    "retract": lambda s, _: check_equal(
        [{"mention": 1, "dm": 1}, {"dm": 1}], [s.unread("alice"), s.unread("bob")]
    ),
    "setGauge": lambda s, _: check_equal(
        {"mention": 1, "dm": 1, "invoices": 7}, s.unread("alice")
    ),
    "badgeOfUser": lambda _, output: check_equal(
        9, int(output.partition("unread")[2].strip('"=:').partition(",")[0])
    ),
    "setPreferencesOfUser": lambda s, _: check_equal(
        (["news"], ["team-7"]),
        attrgetter("categories", "topics")(s.client.preferences("alice").muted),
    ),
    "preferencesOfUser": lambda _, output: check_equal(True, "team-7" in output),
    "itemsOfUser": lambda _, output: check_equal(True, "cursor" in output),
    "streamsOfUser": lambda _, output: check_equal(
        "0", output.partition("streams")[2].strip(' "=:')[:1]
    ),
    "changeFollowers": lambda s, _: check_equal(
        "producer", s.client.topics("alice").topics["team-7"].by
    ),
    "topic": lambda _, output: check_equal(True, "waiting" in output),
    "explainTopic": lambda _, output: check_equal(True, "not_counted" in output),
    "deleteTopic": lambda _, output: check_equal(True, "removed" in output),
    "topicsOfUser": lambda _, output: check_equal(True, "team-7" in output),
    "explain": lambda _, output: check_equal(True, "not_counted" in output),
    "dropGauge": lambda s, _: check_equal({"mention": 1, "dm": 1}, s.unread("alice")),
    "ticket": check_ticket,
    "disconnect": lambda s, _: check_equal(401, s.status("/v1/badge", s.token_of_bob)),
    "forget": lambda s, _: check_equal(
        (0, True),
        (s.client.badge("bob").v, s.client.badge("bob").epoch != s.epoch_of_bob),
    ),
}
"""What each call has done after its snippet has run."""


@pytest.fixture
def session():
    """Yield a session with a new service."""
    serve = started("serve", "--bind", "127.0.0.1:0", env=environment())
    with serve as (_, url), BadgeClient(url, key=KEY) as client:
        bearer, epoch = token("bob"), client.badge("bob").epoch
        yield Session(url, client, bearer, epoch)


def run_file(language: str, file: Path, url: str) -> subprocess.CompletedProcess[str]:
    """Run a snippet as a user does, with the two variables."""
    return subprocess.run(
        [*COMMANDS[language], str(file)],
        cwd=file.parent,
        env={**os.environ, "ROUNDEL_URL": url, "ROUNDEL_KEY": KEY},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


def output_of(language: str, file: Path, url: str) -> str:
    if language == "Python":
        # In this process, which has imported the client already.
        with contextlib.redirect_stdout(io.StringIO()) as output:
            runpy.run_path(str(file))
        return output.getvalue()
    done = run_file(language, file, url)
    assert (0, "") == (done.returncode, done.stderr), done.stdout
    return done.stdout


def require(language: str, lacking) -> None:
    for program in COMMANDS.get(language, []):
        if shutil.which(program) is None:
            lacking(f"{program} is not installed")
    if language == "curl" and shutil.which("curl") is None:
        lacking("curl is not installed")


def save(folder: Path, language: str, call) -> Path:
    """Save a snippet of *call*, and the files that it imports."""
    for name in ("roundel.mjs", "roundel.php"):
        shutil.copy(FOLDER / name, folder)
    file = folder / f"snippet.{ENDINGS[language]}"
    file.write_text(WRITER["snippets"](call)[language])
    return file


@pytest.mark.slow
@pytest.mark.parametrize("language", ENDINGS)
def test_each_snippet_has_its_effect(language, session, tmp_path, monkeypatch, lacking):
    """The snippets of a language run in order, and the service has done each call."""
    require(language, lacking)
    monkeypatch.setenv("ROUNDEL_URL", session.url)
    monkeypatch.setenv("ROUNDEL_KEY", KEY)
    for call in CALLS:
        file = save(tmp_path, language, call)
        EFFECTS[call["operation"]](session, output_of(language, file, session.url))


def call_of(operation: str):
    return next(call for call in CALLS if call["operation"] == operation)


AWAY = (503, {"Retry-After": "0"}, {**PROBLEM, "status": 503})


@pytest.mark.slow
@pytest.mark.parametrize("language", COMMANDS)
def test_snippet_repeats_a_call_that_may_be_repeated(language, tmp_path, lacking):
    """A notification is repeated with its key; curl waits for at least a second."""
    require(language, lacking)
    file = save(tmp_path, language, call_of("notify"))
    with playing(AWAY, (200, {}, {"results": []})) as (url, received):
        done = run_file(language, file, url)

    assert (0, "") == (done.returncode, done.stderr if language != "curl" else "")
    assert '{"results":[]}' in done.stdout.replace(" ", "")
    keys = [headers["Idempotency-Key"] for headers in received]
    assert ["issue-42-mention-7"] * 2 == keys


@pytest.mark.slow
@pytest.mark.parametrize("language", COMMANDS)
def test_snippet_does_not_repeat_a_revocation(language, tmp_path, lacking):
    """A call that may have had its effect ends with the error."""
    require(language, lacking)
    file = save(tmp_path, language, call_of("disconnect"))
    with playing(AWAY) as (url, received):
        done = run_file(language, file, url)

    assert done.returncode
    assert "503" in done.stdout + done.stderr
    assert 1 == len(received)


@pytest.mark.slow
@pytest.mark.parametrize("language", COMMANDS)
def test_snippet_reports_a_problem(language, tmp_path, lacking):
    """A rejected call ends at once, with the detail of the problem."""
    require(language, lacking)
    file = save(tmp_path, language, call_of("notify"))
    with playing((422, {}, PROBLEM)) as (url, received):
        done = run_file(language, file, url)

    assert done.returncode
    assert "is wrong" in done.stdout + done.stderr
    assert 1 == len(received)
