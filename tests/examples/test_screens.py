"""Each example with the shared page, on each server that it names."""

from __future__ import annotations

import ast
import io
import signal
import tokenize

import httpx2
import pytest
import trio

from browser.conftest import browser, context, page
from support.examples import (
    EXAMPLES,
    Reader,
    cases,
    commands_of,
    is_event,
    running,
)

__all__ = ["browser", "context", "page"]  # Fixtures are found by their names.

MAX_LINES = {"quart_trio_app.py": 35}
"""The lines of code of an example, 30 by default. This one has its server."""


def lines_of_code(source: str) -> int:
    """Count the lines that have code; docstrings and comments are none."""
    tree = ast.parse(source)
    ignored = {
        *(tokenize.COMMENT, tokenize.NL, tokenize.NEWLINE),
        *(tokenize.INDENT, tokenize.DEDENT, tokenize.ENDMARKER),
    }
    lines = {
        token.start[0]
        for token in tokenize.generate_tokens(io.StringIO(source).readline)
        if token.type not in ignored
    }
    for node in ast.walk(tree):
        if isinstance(node, ast.Module | ast.FunctionDef | ast.ClassDef) and (
            ast.get_docstring(node)
        ):
            lines -= set(range(node.body[0].lineno, (node.body[0].end_lineno or 0) + 1))
    return len(lines)


@pytest.mark.parametrize(
    "name", sorted(path.name for path in EXAMPLES.glob("*_app.py"))
)
def test_example_is_short(name):
    """The example of a framework has at most 30 lines of code, or 35."""
    assert lines_of_code((EXAMPLES / name).read_text()) <= MAX_LINES.get(name, 30)


@pytest.mark.slow
@pytest.mark.parametrize("command", cases())
async def test_screen(command, lacking, tmp_path):
    """A screen has its state, follows a job, resumes after a cut, and ends with `bye`.

    One reader stays connected, and the other one is cut in the middle of a job.
    """
    with running(command, lacking, tmp_path) as example:
        async with httpx2.AsyncClient(trust_env=False) as client:
            steady, cut = (Reader(client, f"{example.url}/events") for _ in range(2))
            await cut.read_until(is_event("clear"))
            first = [(event.type, event.data) for event in cut.events]
            async with trio.open_nursery() as nursery:
                nursery.start_soon(steady.read_until, is_event("bye"))
                await steady.wait_for(is_event("clear"))
                assert (await client.post(f"{example.url}/run")).status_code < 300
                await cut.read_until(is_event("log", "30 % done"))
                await steady.wait_for(is_event("badge", "1"))
                seen = len(cut.events)
                nursery.start_soon(cut.read_until, is_event("bye"))
                await cut.wait_for(is_event("log", "100 % done"))
                await cut.wait_for(is_event("badge", "1"))
                await cut.wait_for(is_event("job", "100"))
                example.process.send_signal(signal.SIGTERM)
        status = await trio.to_thread.run_sync(example.process.wait, 15)

    lines = [f"{percent} % done" for percent in range(10, 101, 10)]
    assert [("badge", "0"), ("job", "0"), ("clear", "")] == first
    assert lines == steady.data_of("log")
    assert lines == cut.data_of("log")
    assert "clear" not in [event.type for event in cut.events[seen:]]
    assert ["0", "1"] == cut.data_of("badge") == steady.data_of("badge")
    assert "100" == cut.data_of("job")[-1] == steady.data_of("job")[-1]
    assert status in (0, -signal.SIGTERM)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["asgi_app.py", "flask_app.py"])
def test_screen_in_a_browser(name, lacking, tmp_path, page):
    """A page shows the job as it runs, and the same numbers and lines when reloaded."""
    with running(commands_of(name)[0], lacking, tmp_path) as example:
        page.goto(example.url)
        page.wait_for_function("() => badge.textContent === '0'")
        page.click("#run")
        page.wait_for_function("() => job.value > 0")
        page.wait_for_function("() => badge.textContent === '1'")
        page.reload()
        page.wait_for_function("() => badge.textContent === '1' && job.value === 100")
        page.wait_for_function("() => tail.textContent.endsWith('100 % done\\n')")

        assert 10 == len(page.inner_text("#tail").splitlines())
