"""Binary data on a stream, read by a client and drawn by a browser."""

from __future__ import annotations

import runpy
from base64 import b64decode

import httpx2
import pytest

from browser.conftest import browser, context, page
from roundel import Parser, encode
from support.examples import EXAMPLES, Reader, commands_of, is_event, label, running

__all__ = ["browser", "context", "page"]  # Fixtures are found by their names.

COMMANDS = commands_of("binary_samples.py")


def test_each_byte_survives():
    """The helper's event has each of the 256 bytes, also after encoding and parsing."""
    module = runpy.run_path(str(EXAMPLES / "binary_samples.py"))
    data = bytes(range(256)) * 3
    [event] = Parser().receive_data(encode(module["binary_event"](data, "samples")))

    assert data == b64decode(event.data)


@pytest.mark.slow
@pytest.mark.parametrize("command", COMMANDS, ids=label)
async def test_samples(command, lacking, tmp_path):
    """A new reader gets the newest samples, and then the next ones."""
    with running(command, lacking, tmp_path) as example:
        async with httpx2.AsyncClient(trust_env=False) as client:
            reader = Reader(client, f"{example.url}/events")
            await reader.read_until(is_event("samples"))
            await reader.read_until(is_event("samples"))
    samples = [b64decode(data) for data in reader.data_of("samples")]

    assert [256, 256] == [len(each) for each in samples]
    assert samples[0] != samples[1]


@pytest.mark.slow
def test_samples_in_a_browser(lacking, tmp_path, page):
    """A page decodes the samples with `atob()`."""
    with running(COMMANDS[0], lacking, tmp_path) as example:
        page.goto(example.url)
        page.wait_for_function("() => plot.dataset.samples === '256'")
