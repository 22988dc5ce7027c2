"""HTTP/2: each error ends what the RFC says, a stream or the connection."""

from __future__ import annotations

import pytest

from support.http2_cases import CASE_APP, CASES, PREFACES, Outcome
from support.http2_wire import GET, head, ping, wire_server

NEXT = 101
"""A stream above those of the cases."""


def pieces(received, *, whole):
    """Cut *received* into single bytes, or into larger pieces if it is large."""
    size = len(received) if whole else 1 if len(received) < 500 else 1_000
    return [received[i : i + size] for i in range(0, len(received), size)]


def ids(cases):
    return [" ".join(map(str, case[:-2])) for case in cases]


async def outcome(server):
    """Return what has happened to stream 1, and to the connection."""
    codes = [code for _, code in server.goaways()]
    return Outcome(
        server.statuses().get(1),
        None if server.statuses().get(1) else server.resets().get(1),
        codes[0] if codes else None,
    )


@pytest.mark.parametrize("whole", [True, False], ids=["whole", "in pieces"])
@pytest.mark.parametrize(
    ("section", "name", "received", "expected"), CASES, ids=ids(CASES)
)
async def test_frames(section, name, received, expected, whole, autojump_clock, caplog):
    """A connection error ends the connection; after a stream error it serves on."""
    async with wire_server(CASE_APP) as server:
        for part in received if isinstance(received, tuple) else (received,):
            for piece in pieces(part, whole=whole):
                await server.receive(piece)
        happened = await outcome(server)
        if expected.goaway is None:
            await server.receive(ping(b"are you?"), head(NEXT, GET))
            assert not server.is_closed
            assert server.statuses().get(NEXT, 200) == 200
            assert b"are you?" in [each.opaque_data for each in server.sent("Ping")]

        assert expected == happened
        assert expected.goaway is None or server.is_closed
        assert caplog.messages == []


@pytest.mark.parametrize(("name", "received", "expected"), PREFACES, ids=ids(PREFACES))
async def test_prefaces(name, received, expected, autojump_clock):
    """RFC 9113 3.4: an invalid preface is a connection error."""
    async with wire_server(CASE_APP, preface=False) as server:
        for piece in pieces(received, whole=False):
            await server.receive(piece)

        assert expected == await outcome(server)
