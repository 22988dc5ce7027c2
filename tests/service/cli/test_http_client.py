"""Calls of a service: its problems, foreign answers, proxies and lost connections."""

from __future__ import annotations

import json

import httpx2
import pytest

from roundel_service.cli import http_client
from roundel_service.cli.errors import CommandError
from support.badge_clients import NOTIFIED
from support.http_answers import answering

PROBLEM = "application/problem+json"
KEY = "a-producer-key-for-tests"
RESPONSE = json.dumps(NOTIFIED)


def problem(status: int, detail: str, **more) -> str:
    document = {"type": "urn:roundel:problem:x", "title": "X", "status": status}
    return json.dumps({**document, "detail": detail, **more})


def notify(url: str):
    """Notify a user as the command does."""
    with (
        http_client.explain_request(f"{url}/v1/notify"),
        http_client.producer_client(url, key=KEY) as client,
    ):
        return client.notify("alice", "Hi")


def lines(url: str) -> tuple[str, ...]:
    """Return the lines that report the failed call."""
    with pytest.raises(CommandError) as caught:
        notify(url)
    return caught.value.lines


def test_response_is_returned():
    """A 200 with JSON is the response."""
    with answering(200, "application/json", RESPONSE) as (url, received):
        response = notify(url)

    assert "alice" == response.results[0].user
    assert ["POST /v1/notify HTTP/1.1"] == received


@pytest.mark.parametrize(
    ("status", "body", "expected"),
    [
        (401, problem(401, "unknown key"), ("401 Unauthorized: unknown key",)),
        (503, problem(503, "the store is away"),
         ("503 Service Unavailable: the store is away",)),
        (
            422,
            problem(422, "one bad field", errors=[{"field": "ttl", "detail": "is 0"}]),
            ("422 Unprocessable Entity: one bad field", "ttl: is 0"),
        ),
        (
            422,
            problem(422, "ttl: is 0", errors=[{"field": "ttl", "detail": "is 0"}]),
            ("422 Unprocessable Entity: ttl: is 0",),
        ),
    ],
    ids=["401", "503", "422", "422 once"],
)  # fmt: skip
def test_problem_is_reported_in_words(status, body, expected):
    """A problem is printed with its detail, and a line for each bad field."""
    with answering(status, PROBLEM, body) as (url, _):
        assert expected == lines(url)


@pytest.mark.parametrize(
    ("status", "media_type", "body", "headers"),
    [
        (200, "text/html", "<title>Welcome</title>", {}),
        (204, "", "", {}),
        (301, "text/html", "Moved", {"Location": "https://example.org/"}),
        (307, "application/json", "{}", {"Location": "/v2/notify"}),
        (404, "text/html; charset=utf-8", "<h1>Not found</h1>", {}),
        (405, PROBLEM, "not JSON", {}),
        (502, PROBLEM, '{"title": 7}', {}),
        (502, PROBLEM, '["a proxy"]', {}),
    ],
)
def test_answer_of_another_server_is_an_error(status, media_type, body, headers):
    """An answer that is not of this API is an error that says so: also a redirect."""
    with answering(status, media_type, body, **headers) as (url, _):
        (line,) = lines(url)

    assert line.startswith(f"{url}/v1/notify answered {status} ")
    assert "not a Roundel service" in line


@pytest.mark.parametrize(
    "proxy", ["http://127.0.0.1:9", "socks5://127.0.0.1:9", "not a URL"]
)
@pytest.mark.parametrize("name", ["HTTP_PROXY", "http_proxy", "ALL_PROXY"])
def test_loopback_is_called_without_a_proxy(monkeypatch, name, proxy):
    """A proxy of the environment cannot reach this machine's loopback."""
    monkeypatch.setenv(name, proxy)

    with answering(200, "application/json", RESPONSE) as (url, _):
        assert 1 == len(notify(url).results)


@pytest.mark.parametrize(
    ("url", "is_local"),
    [
        ("http://127.0.0.1:8080", True),
        ("http://127.9.9.9", True),
        ("http://LOCALHOST:1/x", True),
        ("http://[::1]:8080", True),
        ("http://192.0.2.1", False),
        ("https://badges.example.org", False),
        ("http://127.0.0.1.example.org", False),
    ],
)
def test_is_local(url, is_local):
    """Only a loopback address, and the name localhost, is on this machine."""
    assert is_local == http_client.is_local(url)


def test_proxy_that_cannot_be_used_is_named(monkeypatch):
    """A SOCKS proxy needs a package; a proxy that refuses is an error of the URL."""
    monkeypatch.setenv("ALL_PROXY", "socks5://127.0.0.1:9")
    (line,) = lines("http://badges.invalid")
    assert "socks" in line.lower()

    monkeypatch.setenv("ALL_PROXY", "http://127.0.0.1:9")
    (line,) = lines("http://badges.invalid")
    assert line.startswith("cannot connect to http://badges.invalid/v1/notify: ")


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("ALL_PROXY", "socks5://127.0.0.1:9"),
        ("ALL_PROXY", "ftp://127.0.0.1:9"),
        ("HTTPS_PROXY", "http://[::1"),
        ("SSL_CERT_FILE", "/none.pem"),
        ("SSL_CERT_FILE", __file__),
    ],
)
def test_unusable_variable_of_the_client_is_an_error_of_one_line(
    monkeypatch, name, value
):
    """A bad proxy or certificate file is an error that names the variables."""
    monkeypatch.setenv(name, value)

    (line,) = lines("https://badges.invalid")

    assert line.startswith("cannot use the environment's proxy or certificates: ")
    assert name in line


@pytest.mark.parametrize("host", ["a..b", "a" * 64])
def test_host_that_no_resolver_takes_is_an_error(host):
    """A label of a name has 1 to 63 characters (RFC 1035 2.3.4)."""
    (line,) = lines(f"http://{host}")

    assert line.startswith(f"http://{host}/v1/notify: ")


def test_reason_of_an_error_without_a_message_is_that_of_its_cause():
    """The HTTP client with trio gives a TLS error no text of its own."""
    error = httpx2.ConnectError("")
    error.__cause__ = OSError("wrong version number")

    with (
        pytest.raises(CommandError) as raised,
        http_client.explain_request("https://x"),
    ):
        raise error

    assert "wrong version number" in raised.value.lines[0]


def test_connection_that_is_refused_or_closed_is_reported():
    """The lines name the URL, and what may be the matter."""
    (refused,) = lines("http://127.0.0.1:9")
    assert "http://127.0.0.1:9/v1/notify" in refused
    assert "is the service running there?" in refused

    with answering(200, "application/json", "{}") as (url, _):
        (no_tls,) = lines(url.replace("http:", "https:"))
    assert no_tls.startswith("cannot connect to https://")
