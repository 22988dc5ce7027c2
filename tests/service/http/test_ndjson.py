"""Lines of a chunked body: independent of the chunks, in bounded memory."""

from __future__ import annotations

import tracemalloc
from itertools import pairwise

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from roundel_service.http.ndjson import split_lines
from roundel_service.http.problems import Problem

LIMIT = 8


async def chunks_of(*chunks):
    for chunk in chunks:
        yield chunk


async def lines_of(*chunks, limit=LIMIT):
    """Return the lines; a too long line as the status of its problem."""
    made = [
        line
        async for part in split_lines(chunks_of(*chunks), limit=limit)
        for line in part
    ]
    return [line.status if isinstance(line, Problem) else line for line in made]


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        pytest.param(b"", [], id="nothing"),
        pytest.param(b"a\nb\n", [b"a", b"b"], id="two lines"),
        pytest.param(b"a\nb", [b"a", b"b"], id="the last without its end"),
        pytest.param(b"a\r\nb\r\n", [b"a", b"b"], id="CRLF"),
        pytest.param(b"a\r\nb\r", [b"a", b"b"], id="the last with half of its end"),
        pytest.param(b"a\rb\n", [b"a\rb"], id="a CR is no end"),
        pytest.param(b"\n\r\n  \n\t\na\n\n", [b"a"], id="blank lines"),
        pytest.param(b" a \n", [b" a "], id="blanks in a line"),
        pytest.param(b"12345678\n1", [b"12345678", b"1"], id="as long as may be"),
        pytest.param(b"12345678\r\n1", [b"12345678", b"1"], id="not counting CRLF"),
        pytest.param(b"12345678", [b"12345678"], id="as long, without an end"),
        pytest.param(b"12345678\r", [b"12345678"], id="as long, with half an end"),
        pytest.param(b"123456789\n1\n", [413, b"1"], id="too long"),
        pytest.param(b"123456789\r\n1\n", [413, b"1"], id="too long, CRLF"),
        pytest.param(b"1\n123456789", [b"1", 413], id="too long, the last"),
        pytest.param(b"         \n1\n", [413, b"1"], id="too long and blank"),
        pytest.param(b"123456789" * 9 + b"\n1\n", [413, b"1"], id="much too long"),
        pytest.param(b"123456789\n\n" * 2, [413, 413], id="two too long"),
    ],
)
async def test_split_lines(body, expected):
    """The lines are the same whole, byte by byte, and cut anywhere in two."""
    assert expected == await lines_of(body)
    assert expected == await lines_of(*(bytes([byte]) for byte in body))
    for cut in range(len(body)):
        assert expected == await lines_of(body[:cut], b"", body[cut:])


async def test_lines_come_with_the_chunk_that_completes_them():
    """No line waits for the next chunk; a too long line is reported at once."""
    parts = split_lines(chunks_of(b"a\nb", b"\nc\nd", b"e", b"12345678"), limit=LIMIT)
    made = [len(part) async for part in parts]

    assert [1, 2, 1] == made


async def test_problem_has_the_size_limit():
    """The problem of a too long line has the size limit."""
    [[problem]] = [part async for part in split_lines(chunks_of(b"x" * 9), limit=LIMIT)]

    assert (413, "the line takes more than 8 bytes") == (problem.status, problem.detail)


@pytest.mark.slow
@given(
    body=st.text("ab \r\n", max_size=60).map(str.encode),
    cuts=st.lists(st.integers(0, 60)),
)
@example(body=b"         \n", cuts=[9])
@example(body=b"12345678\r\n", cuts=[9])
async def test_chunks_do_not_matter(body, cuts):
    """Any chunks of the same bytes give the lines of a naive split."""
    places = [0, *sorted(cuts), len(body)]
    chunks = [body[start:end] for start, end in pairwise(places)]
    naive = [line.removesuffix(b"\r") for line in body.split(b"\n")]
    expected = [
        line if len(line) <= LIMIT else 413
        for line in naive
        if line.strip() or len(line) > LIMIT
    ]

    assert expected == await lines_of(*chunks)


async def memory_for(body, size, limit):
    """Return the peak and the total of allocated bytes."""
    most = total = 0

    async def chunks():
        nonlocal most, total
        for start in range(0, len(body), size):
            tracemalloc.reset_peak()
            before, _ = tracemalloc.get_traced_memory()
            yield body[start : start + size]
            _, peak = tracemalloc.get_traced_memory()
            most, total = max(most, peak), total + peak - before

    tracemalloc.start()
    try:
        async for _ in split_lines(chunks(), limit=limit):
            pass
    finally:
        tracemalloc.stop()
    return most, total


@pytest.mark.parametrize(
    "body",
    [
        pytest.param(b"x" * 200_000, id="a line without an end"),
        pytest.param((b"x" * 2_999 + b"\n") * 66, id="lines that are too long"),
        pytest.param((b"x" * 999 + b"\n") * 200, id="lines that are not"),
    ],
)
async def test_memory_is_bounded(body):
    """At most one line and one chunk are kept, however long the body is."""
    most, _ = await memory_for(body, 500, limit=1_000)

    assert most < 10_000


async def test_work_is_linear():
    """A line in small chunks is not searched again for each chunk."""
    _, once = await memory_for(b"x" * 20_000, 20, limit=1 << 20)
    _, twice = await memory_for(b"x" * 40_000, 20, limit=1 << 20)

    assert twice < 3 * once
