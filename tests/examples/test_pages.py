"""How-tos that begin with a complete program of `docs/examples`."""

from __future__ import annotations

import re

import httpx2
import pytest

from support.examples import EXAMPLES, Reader, commands_of, is_event, running

PAGES = {
    "embed-the-core.md": "badge_app.py",
    "stream-tokens.md": "llm_answer.py",
    "replay-from-a-database.md": "table_rows.py",
}


@pytest.mark.parametrize("page", PAGES)
def test_page_begins_with_the_program(page):
    """The first block of the page is the program, which other tests run."""
    text = (EXAMPLES.parent / "how-to" / page).read_text()
    program = (EXAMPLES / PAGES[page]).read_text()

    assert program == re.search("```python\n(.*?)```", text, re.DOTALL)[1]


@pytest.mark.slow
async def test_badge_app(lacking, tmp_path):
    """The badge of a user follows the notifications of this user alone."""
    [command] = commands_of("badge_app.py")
    with running(command, lacking, tmp_path) as example:
        async with httpx2.AsyncClient(trust_env=False) as client:
            reader = Reader(client, f"{example.url}/events/alice")
            await reader.read_until(is_event("message", "0"))
            for user in ("alice", "bob", "alice"):
                await client.post(f"{example.url}/notify/{user}")
            await reader.read_until(is_event("message", "2"))
            page = await client.get(example.url)

    assert ["0", "2"] == reader.data_of("message")
    assert "/events/alice" in page.text
