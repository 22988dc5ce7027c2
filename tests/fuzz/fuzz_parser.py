"""Fuzz `Parser` against the literal transcription of the standard.

    PYTHONPATH=tests python tests/fuzz/fuzz_parser.py [-max_total_time=330] [CORPUS]

The fuzzer chooses the bytes, the cuts, the last event id and the budget. Without a
budget the parser must agree with the transcription after each chunk. With a budget its
events must be the first ones of the transcription for any cuts, and only
`RemoteProtocolError` may be raised.
"""

from __future__ import annotations

import sys
from inspect import isfunction
from itertools import pairwise

from roundel import RemoteProtocolError
from roundel._parser import MAX_RETRY, Parser
from support.whatwg import EventSource, interpret

# The tokens of the grammar, so that the fuzzer need not discover them.
TOKENS = [
    *(
        b"data",
        b"data: ",
        b"event: ",
        b"id: ",
        b"id",
        b"retry: ",
        b"\n",
        b"\r",
        b"\r\n",
    ),
    *(
        b"\n\n",
        b"\xef\xbb\xbf",
        b"\xc3\xa9",
        b"\xf0\x9f\xa5\x9f",
        b"\xe2\x80",
        b"\xed\xa0",
    ),
    *(b"\0", b":", b": x", b"12", b"9999999999999999999999", b"datax: ", b"foo"),
]


def read_stream(provider) -> bytes:
    """Draw a stream of tokens and random bytes."""
    parts = []
    while provider.remaining_bytes() > 0 and len(parts) < 200:
        choice = provider.ConsumeIntInRange(0, len(TOKENS) + 3)
        rest = provider.ConsumeIntInRange(1, 8) if choice >= len(TOKENS) else 0
        parts.append(TOKENS[choice] if not rest else provider.ConsumeBytes(rest))
    return b"".join(parts)


def read_input(provider) -> tuple[list[bytes], str, int]:
    """Draw the chunks, the last event id, and a budget."""
    seed = provider.PickValueInList(["", "seed", "é"])
    budget = provider.ConsumeIntInRange(0, 80)
    cuts = provider.ConsumeIntListInRange(8, 0, 1 << 9)
    stream = read_stream(provider)
    ends = [0, *sorted(min(cut, len(stream)) for cut in cuts), len(stream)]
    return [stream[start:end] for start, end in pairwise(ends)], seed, budget


def check_unbounded(chunks: list[bytes], seed: str) -> None:
    parser = Parser(seed)
    parsed = []
    so_far = b""
    for chunk in chunks:
        so_far += chunk
        parsed += parser.receive_data(chunk)
        source = interpret(so_far, seed)
        retry = source.reconnection_time
        assert as_tuples(source) == [(e.type, e.data, e.id) for e in parsed], chunks
        assert source.last_event_id_string == parser.last_event_id, chunks
        assert parser.retry == (None if retry is None else min(retry, MAX_RETRY))
    parser.receive_eof()


def read_bounded(chunks: list[bytes], budget: int) -> tuple:
    parser = Parser(max_event_size=budget)
    parsed = []
    failed = False
    try:
        for chunk in chunks:
            parsed += parser.receive_data(chunk)
        parser.receive_eof()
    except RemoteProtocolError:
        failed = True
    return parsed, parser.last_event_id, parser.retry, failed


def check_bounded(chunks: list[bytes], budget: int) -> None:
    stream = b"".join(chunks)
    outcome = read_bounded(chunks, budget)
    assert outcome == read_bounded([stream], budget), chunks
    parsed, *_, failed = outcome
    actual = [(e.type, e.data, e.id) for e in parsed]
    expected = as_tuples(interpret(stream))
    assert actual == (expected[: len(actual)] if failed else expected), chunks


def as_tuples(source: EventSource) -> list[tuple[str, str, str]]:
    return [(e.type, e.data, e.last_event_id) for e in source.dispatched]


def main() -> None:
    # Imported here, so that pytest can collect this folder without atheris.
    import atheris

    def check(data: bytes) -> None:
        chunks, seed, budget = read_input(atheris.FuzzedDataProvider(data))
        check_unbounded(chunks, seed)
        check_bounded(chunks, budget)

    for method in filter(isfunction, vars(Parser).values()):
        atheris.instrument_func(method)
    atheris.Setup(sys.argv, check)
    atheris.Fuzz()


if __name__ == "__main__":
    main()
