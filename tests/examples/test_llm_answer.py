"""The answer of a language model, read by clients and by a browser that reloads."""

from __future__ import annotations

import re

import httpx2
import pytest
import trio

from browser.conftest import browser, context, page
from support.examples import Reader, commands_of, is_event, label, running

__all__ = ["browser", "context", "page"]  # Fixtures are found by their names.

pytestmark = pytest.mark.slow

COMMANDS = commands_of("llm_answer.py")
ANSWER = "You said: Hello, my dear. That is 15 characters. "


@pytest.fixture
def example(lacking, tmp_path, request):
    command = getattr(request, "param", COMMANDS[0])
    with running(command, lacking, tmp_path) as example:
        yield example


def text_of(reader: Reader) -> str:
    """Return what a page shows: an answer replaces all, and a token is added."""
    text = ""
    for event in reader.events:
        text = event.data if event.type == "answer" else text + event.data
    return text


async def ask(client: httpx2.AsyncClient, url: str) -> str:
    """Ask, and return the URL of the answer."""
    query = {"prompt": "Hello, my dear."}
    response = await client.post(f"{url}/answers", params=query)
    return f"{url}/answers/{response.json()}"


@pytest.mark.parametrize("example", COMMANDS, indirect=True, ids=label)
async def test_answer_survives_cuts_and_reloads(example):
    """A cut reader gets the missing tokens, and a new one the answer so far, once."""
    async with httpx2.AsyncClient(trust_env=False) as client:
        url = await ask(client, example.url)
        cut, reloaded, late = (Reader(client, url) for _ in range(3))
        await cut.read_until(is_event("token", "said: "))
        async with trio.open_nursery() as nursery:
            nursery.start_soon(reloaded.read_until, is_event("done"))
            await reloaded.wait_for(is_event("token", "my "))
            seen = len(cut.events)
            await cut.read_until(is_event("done"))
        await late.read_until(is_event("done"))
        unknown = await client.get(f"{example.url}/answers/unknown")

    assert ANSWER == text_of(cut) == text_of(reloaded) == text_of(late)
    assert {"token", "done"} == {event.type for event in cut.events[seen:]}
    assert ["answer", "done"] == [event.type for event in late.events]
    assert 204 == unknown.status_code


def test_answer_in_a_browser(example, page, context):
    """A page that is reloaded, and a second tab, show the whole answer once."""
    page.goto(example.url)
    page.fill("[name=prompt]", "Hello, my dear.")
    page.click("button")
    page.wait_for_function("() => answer.textContent.includes('said:')")
    page.reload()
    page.wait_for_function("() => answer.textContent.includes('Hello,')")
    second = context.new_page()
    second.goto(page.url)
    for tab in (page, second):
        tab.wait_for_function("text => answer.textContent === text", arg=ANSWER)

    assert re.search("#.", page.url)
