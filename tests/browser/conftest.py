"""A browser, and the command in a process of its own."""

from __future__ import annotations

import json
import os
import re
import secrets
import shutil
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any, Protocol
from urllib.request import Request, urlopen

import attrs
import pytest
from playwright.sync_api import Browser, BrowserContext, Page, sync_playwright

from roundel_service.identity.authenticator import Authenticator
from roundel_service.identity.hmac_key import HmacKey

NAMES = ("chromium", "chromium-browser", "google-chrome")
QUIET = (
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
)
TIMEOUT = 20.0
"""Timeout of each step, in seconds."""


@attrs.frozen
class Server:
    """A running `roundel serve` or `roundel demo`, until `stop()`."""

    process: subprocess.Popen[str]
    url: str
    key: str
    secret: str

    @property
    def address(self) -> str:
        return self.url.removeprefix("http://")

    def token(self, user: str) -> str:
        authenticator = Authenticator(producer_keys=(), keys=HmacKey((self.secret,)))
        return authenticator.sign(user, ttl=3600)

    def notify(self, user: str, title: str, **fields: Any) -> dict[str, Any]:
        """Send a notification; return the result of its user."""
        body = {"to": {"user": user}, "title": title, **fields}
        return self._request("/v1/notify", self.key, json.dumps(body))["results"][0]

    def revoke(self, user: str) -> None:
        """Revoke the credentials of *user* that were issued before now."""
        body = json.dumps({"revoke": True})
        self._request(f"/v1/users/{user}/disconnect", self.key, body)

    def disconnect(self, user: str) -> None:
        """End the streams of *user*, who may come back."""
        self._request(f"/v1/users/{user}/disconnect", self.key, "{}")

    def forget(self, user: str) -> None:
        """Delete *user*, whose mailbox gets another epoch."""
        self._request(f"/v1/users/{user}", self.key, method="DELETE")

    def mute(self, user: str, *categories: str) -> None:
        body = json.dumps({"muted": {"categories": categories}})
        self._request(f"/v1/users/{user}/preferences", self.key, body, method="PUT")

    def badge(self, user: str) -> dict[str, Any]:
        return self._request("/v1/badge", self.token(user))

    def _request(
        self,
        path: str,
        credential: str,
        body: str | None = None,
        *,
        method: str | None = None,
    ) -> dict[str, Any]:
        headers = {
            "Authorization": f"Bearer {credential}",
            "Content-Type": "application/json",
        }
        data = None if body is None else body.encode()
        request = Request(self.url + path, data=data, headers=headers, method=method)
        with urlopen(request, timeout=TIMEOUT) as response:
            return json.loads(response.read() or "{}")

    def stop(self) -> int:
        """Send SIGTERM; return the exit status."""
        return _stop(self.process)


class Start(Protocol):
    """Starts the command with arguments and settings."""

    def __call__(self, *arguments: str, **settings: str) -> Server: ...


@pytest.fixture
def start() -> Iterator[Start]:
    """Start `roundel` commands, which are stopped at the end of the test."""
    key, secret = secrets.token_urlsafe(16), secrets.token_urlsafe(32)
    with ExitStack() as stack:

        def start_one(*arguments: str, **settings: str) -> Server:
            given = {
                "ROUNDEL_PRODUCER_KEYS": key,
                "ROUNDEL_JWT_SECRET": secret,
                "ROUNDEL_OPS_BIND": "",
                "ROUNDEL_ENGINE": "memory",
            }
            inherited = {n: v for n, v in os.environ.items() if "ROUNDEL" not in n}
            process = subprocess.Popen(
                [sys.executable, "-m", "roundel_service", *arguments],
                env={**inherited, **given, **settings},
                stdout=subprocess.PIPE,
                text=True,
            )
            stack.callback(_stop, process)
            return Server(process, _announced_url(process), key, secret)

        yield start_one


@pytest.fixture
def server(start: Start) -> Server:
    """Run `roundel serve` on a free port."""
    return start("serve", "--bind", "127.0.0.1:0")


@pytest.fixture
def demo(start: Start) -> Server:
    """Run `roundel demo` on a free port."""
    return start("demo", "--bind", "127.0.0.1:0")


@pytest.fixture
def browser(lacking: Callable[[str], None]) -> Iterator[Browser]:
    """Run a browser of this machine; the tests never download one."""
    found = next(filter(None, map(shutil.which, NAMES)), None)
    if found is None:
        lacking(f"expected a browser, one of {', '.join(NAMES)}")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(
            executable_path=found, args=QUIET, timeout=TIMEOUT * 1_000
        )
        yield browser
        browser.close()


@pytest.fixture
def context(browser: Browser, tmp_path: Path) -> Iterator[BrowserContext]:
    """Open a window without cookies and history."""
    with browser.new_context(viewport={"width": 1200, "height": 900}) as context:
        context.set_default_timeout(TIMEOUT * 1_000)
        yield context


@pytest.fixture
def page(context: BrowserContext) -> Page:
    """Open a page."""
    return context.new_page()


def _announced_url(process: subprocess.Popen[str]) -> str:
    # Killing the process ends the wait for its first line.
    timer = threading.Timer(TIMEOUT, process.kill)
    timer.start()
    assert process.stdout is not None
    line = process.stdout.readline()
    timer.cancel()
    found = re.search(r"http://\S+$", line.strip())
    assert found, f"expected a line that ends with the address, got {line!r}"
    return found[0]


def _stop(process: subprocess.Popen[str]) -> int:
    with process:
        process.send_signal(signal.SIGTERM)
        try:
            return process.wait(TIMEOUT)
        except subprocess.TimeoutExpired:
            process.kill()
            return process.wait()
