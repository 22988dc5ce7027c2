"""The example of each ASGI framework keeps all promises of an event stream."""

from __future__ import annotations

import subprocess
import sys

import pytest

from support.examples import EXAMPLES

APPS = {
    "asgi_app": "asyncio",
    "fastapi_app": "asyncio",
    "litestar_app": "asyncio",
    "quart_app": "asyncio",
    "quart_trio_app": "trio",
    "starlette_app": "trio",
}
"""The examples, and a backend of anyio."""

PROGRAM = f"""
import importlib
import anyio
from roundel import Event
from roundel_adapters.testing import AsgiClient, check_event_stream

async def check(module):
    def publish(text):
        module.topics.publish("log", Event(text, "log"))

    await check_event_stream(
        AsgiClient(module.app), "/events", publish=publish,
        shutdown=module.topics.close, wait_timeout=10.0,
    )
    print(module.__name__, "passes")

for name, backend in {APPS!r}.items():
    anyio.run(check, importlib.import_module(name), backend=backend)
"""


@pytest.mark.slow
def test_examples_keep_all_promises():
    """`check_event_stream()` passes over the app of each framework."""
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM],
        cwd=EXAMPLES,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )

    assert done.returncode == 0, done.stdout + done.stderr
    assert [f"{name} passes" for name in APPS] == done.stdout.splitlines()
