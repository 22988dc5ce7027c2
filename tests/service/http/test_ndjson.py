"""Lines out of pieces: the same whatever the pieces, in memory that is bounded."""

from __future__ import annotations

import tracemalloc
from itertools import pairwise

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from roundel_service.http.ndjson import split_lines
from roundel_service.http.problems import Problem

LIMIT = 8


async def pieces_of(*pieces):
    for piece in pieces:
        yield piece


async def lines_of(*pieces, limit=LIMIT):
    """Return what is made of the pieces; a line that is too long as its status."""
    made = [
        line
        async for part in split_lines(pieces_of(*pieces), limit=limit)
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
async def test_split(body, expected):
    """A body is the same lines whole, one byte at a time, and cut anywhere in two."""
    assert expected == await lines_of(body)
    assert expected == await lines_of(*(bytes([byte]) for byte in body))
    for cut in range(len(body)):
        assert expected == await lines_of(body[:cut], b"", body[cut:])


async def test_lines_come_with_the_piece_that_completes_them():
    """No line waits for the next piece, and what is too long is told at once."""
    parts = split_lines(pieces_of(b"a\nb", b"\nc\nd", b"e", b"12345678"), limit=LIMIT)
    made = [len(part) async for part in parts]

    assert [1, 2, 1] == made


async def test_problem_says_how_long_a_line_may_be():
    """Whoever sends too long a line is told the bound."""
    [[problem]] = [part async for part in split_lines(pieces_of(b"x" * 9), limit=LIMIT)]

    assert (413, "the line takes more than 8 bytes") == (problem.status, problem.detail)


@pytest.mark.slow
@given(
    body=st.text("ab \r\n", max_size=60).map(str.encode),
    cuts=st.lists(st.integers(0, 60)),
)
@example(body=b"         \n", cuts=[9])
@example(body=b"12345678\r\n", cuts=[9])
async def test_pieces_do_not_matter(body, cuts):
    """Any pieces of the same bytes are the same lines: those a naive reader finds."""
    places = [0, *sorted(cuts), len(body)]
    pieces = [body[start:end] for start, end in pairwise(places)]
    naive = [line.removesuffix(b"\r") for line in body.split(b"\n")]
    expected = [
        line if len(line) <= LIMIT else 413
        for line in naive
        if line.strip() or len(line) > LIMIT
    ]

    assert expected == await lines_of(*pieces)


async def memory_for(body, size, limit):
    """Return the bytes that are held at the most, and are allocated in all."""
    most = total = 0

    async def pieces():
        nonlocal most, total
        for start in range(0, len(body), size):
            tracemalloc.reset_peak()
            before, _ = tracemalloc.get_traced_memory()
            yield body[start : start + size]
            _, peak = tracemalloc.get_traced_memory()
            most, total = max(most, peak), total + peak - before

    tracemalloc.start()
    try:
        async for _ in split_lines(pieces(), limit=limit):
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
    """What is kept is never more than a line and a piece, however long the body is."""
    most, _ = await memory_for(body, 500, limit=1_000)

    assert most < 10_000


async def test_work_is_linear():
    """A line in small pieces is not looked at from its beginning for each of them."""
    _, once = await memory_for(b"x" * 20_000, 20, limit=1 << 20)
    _, twice = await memory_for(b"x" * 40_000, 20, limit=1 << 20)

    assert twice < 3 * once
