"""The writer of the log, on real pipes whose reader is slow, stopped or gone."""

from __future__ import annotations

import os
import time
from contextlib import contextmanager

import pytest

from roundel_service.telemetry import log_writer
from roundel_service.telemetry.log_writer import LogWriter

LONG = 10.0
"""A timeout in seconds that no test waits for."""


@contextmanager
def pipe():
    """Yield the two ends of a pipe."""
    read, write = os.pipe()
    with os.fdopen(read, "rb", buffering=0) as reader, os.fdopen(write, "wb") as writer:
        yield reader, writer.fileno()


def lines(count: int, size: int = 99) -> list[str]:
    return [f"{number:0{size}}\n" for number in range(count)]


def test_lines_are_written_in_order():
    """Nothing is lost, and nothing changes places."""
    with pipe() as (reader, file):
        writer = LogWriter(file)
        for line in lines(500):
            writer.write(line)
        writer.drain(LONG)

        assert "".join(lines(500)).encode() == reader.read(1 << 20)
        assert 0 == writer.dropped


def test_lines_are_dropped_while_the_reader_stands_still(monkeypatch):
    """The first lines wait, the others are counted; afterwards all are written."""
    monkeypatch.setattr(log_writer, "MAX_PENDING", 10_000)
    with pipe() as (reader, file):
        filled = os.write(file, b"x" * 65_536)
        writer = LogWriter(file)
        for line in lines(250):
            writer.write(line)
        started = time.monotonic()
        writer.drain(0.05)
        assert 0.05 <= time.monotonic() - started < LONG / 2
        assert 150 == writer.dropped

        assert filled == len(reader.read(filled))
        writer.drain(LONG)
        writer.write("last\n")
        writer.drain(LONG)
        assert f"{''.join(lines(100))}last\n".encode() == reader.read(1 << 20)
        assert 150 == writer.dropped


def test_lines_without_a_reader_are_counted():
    """A closed pipe raises nothing."""
    with pipe() as (reader, file):
        reader.close()
        writer = LogWriter(file)
        for line in lines(3):
            writer.write(line)
        writer.drain(LONG)

        assert 3 == writer.dropped


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="no full device here")
def test_full_disk_is_no_error():
    """Lines are written again when there is space."""
    with open("/dev/full", "wb") as full:
        writer = LogWriter(full.fileno())
        writer.write("line\n")
        writer.drain(LONG)

        assert 1 == writer.dropped


def test_descriptor_that_does_not_block_loses_nothing():
    """A parent can have set the flag, which the open file keeps."""
    with pipe() as (reader, file):
        os.set_blocking(file, False)
        writer = LogWriter(file)
        expected = "".join(lines(3_000))
        for line in lines(3_000):
            writer.write(line)
        received = b""
        while len(received) < len(expected):
            received += reader.read(1 << 20)

        assert expected.encode() == received
        assert 0 == writer.dropped


def test_text_that_is_not_utf_8_is_escaped():
    """A lone surrogate stands for a byte of a name in the environment."""
    with pipe() as (reader, file):
        writer = LogWriter(file)
        writer.write("a\udc80\n")
        writer.drain(LONG)

        assert b"a\\udc80\n" == reader.read(99)
