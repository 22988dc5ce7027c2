"""Fuzz `Parser` against the literal transcription of the standard.

    PYTHONPATH=tests python tests/fuzz/fuzz_parser.py [-max_total_time=330] [CORPUS]

The fuzzer chooses the bytes, where they are cut, the id of the connection before and
the budget. Without a budget, the events so far must be at each cut what the standard
makes of the bytes so far; with one, they must be its first events, however they are
cut, and only `RemoteProtocolError` may come out.
"""

from __future__ import annotations

import sys
from inspect import isfunction
from itertools import pairwise

from roundel import RemoteProtocolError
from roundel._parser import MAX_RETRY, Parser
from support.whatwg import EventSource, interpret

# One token each, so that the fuzzer need not find the grammar first.
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
    """Draw a stream of tokens, which the dictionary gives, and of any other bytes."""
    pieces = []
    while provider.remaining_bytes() > 0 and len(pieces) < 200:
        choice = provider.ConsumeIntInRange(0, len(TOKENS) + 3)
        rest = provider.ConsumeIntInRange(1, 8) if choice >= len(TOKENS) else 0
        pieces.append(TOKENS[choice] if not rest else provider.ConsumeBytes(rest))
    return b"".join(pieces)


def read_input(provider) -> tuple[list[bytes], str, int]:
    """Draw the chunks, the id of the connection before, and a budget."""
    seed = provider.PickValueInList(["", "seed", "é"])
    budget = provider.ConsumeIntInRange(0, 80)
    cuts = provider.ConsumeIntListInRange(8, 0, 1 << 9)
    stream = read_stream(provider)
    ends = [0, *sorted(min(cut, len(stream)) for cut in cuts), len(stream)]
    return [stream[start:end] for start, end in pairwise(ends)], seed, budget


def check_unbounded(chunks: list[bytes], seed: str) -> None:
    parser = Parser(seed)
    seen = []
    so_far = b""
    for chunk in chunks:
        so_far += chunk
        seen += parser.receive_data(chunk)
        source = interpret(so_far, seed)
        retry = source.reconnection_time
        assert as_tuples(source) == [(e.type, e.data, e.id) for e in seen], chunks
        assert source.last_event_id_string == parser.last_event_id, chunks
        assert parser.retry == (None if retry is None else min(retry, MAX_RETRY))
    parser.receive_eof()


def read_bounded(chunks: list[bytes], budget: int) -> tuple:
    parser = Parser(max_event_size=budget)
    seen = []
    refused = False
    try:
        for chunk in chunks:
            seen += parser.receive_data(chunk)
        parser.receive_eof()
    except RemoteProtocolError:
        refused = True
    return seen, parser.last_event_id, parser.retry, refused


def check_bounded(chunks: list[bytes], budget: int) -> None:
    stream = b"".join(chunks)
    outcome = read_bounded(chunks, budget)
    assert outcome == read_bounded([stream], budget), chunks
    seen, *_, refused = outcome
    actual = [(e.type, e.data, e.id) for e in seen]
    expected = as_tuples(interpret(stream))
    assert actual == (expected[: len(actual)] if refused else expected), chunks


def as_tuples(source: EventSource) -> list[tuple[str, str, str]]:
    return [(e.type, e.data, e.last_event_id) for e in source.dispatched]


def main() -> None:
    # Here, since whoever only looks for tests in this folder does not need it.
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
