"""A stream of a table's rows: nothing is lost, whatever happens to rows and readers."""

from __future__ import annotations

import sqlite3
from contextlib import closing

import httpx2
import pytest
import trio

from support.examples import Reader, commands_of, is_event, label, running

pytestmark = pytest.mark.slow

COMMANDS = commands_of("table_rows.py")


@pytest.fixture
def folder(tmp_path):
    return tmp_path


def change(folder, *statements: str) -> None:
    """Execute statements in a transaction of another process' connection."""
    with closing(sqlite3.connect(folder / "messages.db")) as database, database:
        for statement in statements:
            database.execute(statement)


def add_rows(folder, first: int, last: int) -> None:
    insert = "INSERT INTO message (body) VALUES ('%s')"
    change(folder, *(insert.replace("%s", body) for body in rows(first, last)))


def rows(first: int, last: int) -> list[str]:
    return [f"row {number}" for number in range(first, last + 1)]


def is_row(number: int):
    return is_event("message", f"row {number}")


@pytest.mark.parametrize("command", COMMANDS, ids=label)
async def test_replay_of_rows(command, lacking, folder):
    """A reader gets each row after its id once: live, old, and across a restart."""
    async with httpx2.AsyncClient(trust_env=False) as client:
        with running(command, lacking, folder) as example:
            reader = Reader(client, f"{example.url}/events")
            async with trio.open_nursery() as nursery:
                nursery.start_soon(reader.read_until, is_row(250))
                await reader.wait_for(is_event("clear"))
                post = f"{example.url}/messages"
                assert (await client.post(post, content="row 1")).status_code == 201
                await reader.wait_for(is_row(1))
                # By another process, and more than two pages. The heartbeat reads them
                # after 15 s.
                add_rows(folder, 2, 250)
                with trio.fail_after(10):
                    await reader.wait_for(is_row(250))
        add_rows(folder, 251, 500)
        with running(command, lacking, folder) as example:
            reader.url = new_url = f"{example.url}/events"
            await reader.read_until(is_row(500))
            new = Reader(client, new_url)
            await new.read_until(is_row(500))

    assert rows(1, 500) == reader.data_of("message")
    assert 1 == len(reader.data_of("clear"))
    assert rows(481, 500) == new.data_of("message")


async def test_deleted_rows(lacking, folder):
    """A deleted row is skipped; a reader that misses pruned rows starts again."""
    async with httpx2.AsyncClient(trust_env=False) as client:
        with running(COMMANDS[0], lacking, folder) as example:
            kept, late = (Reader(client, f"{example.url}/events") for _ in range(2))
            await late.read_until(is_event("clear"))
            await kept.read_until(is_event("clear"))
            add_rows(folder, 1, 10)
            await late.read_until(is_row(5))
            await kept.read_until(is_row(10))
            # The newest one too, whose id must not be used again.
            change(folder, "DELETE FROM message WHERE id IN (6, 10)")
            add_rows(folder, 11, 11)
            await kept.read_until(is_row(11))
            change(
                folder,
                "DELETE FROM message WHERE id <= 8",
                "UPDATE stream SET pruned = 8",
            )
            await late.read_until(is_row(11))

    assert rows(1, 11) == kept.data_of("message")
    assert ["clear", *rows(1, 5), "clear", "row 9", "row 11"] == [
        event.data or event.type for event in late.events
    ]


async def test_restored_table(lacking, folder):
    """A reader that is ahead of the table starts again: its ids mean other rows."""
    async with httpx2.AsyncClient(trust_env=False) as client:
        with running(COMMANDS[0], lacking, folder) as example:
            reader = Reader(client, f"{example.url}/events")
            await reader.read_until(is_event("clear"))
            add_rows(folder, 1, 3)
            await reader.read_until(is_row(3))
            change(
                folder,
                "DELETE FROM message WHERE id > 1",
                "UPDATE sqlite_sequence SET seq = 1",
            )
            await reader.read_until(is_event("clear"))
            await reader.read_until(is_row(1))

    assert ["clear", *rows(1, 3), "clear", "row 1"] == [
        event.data or event.type for event in reader.events
    ]


@pytest.mark.parametrize("command", COMMANDS, ids=label)
async def test_close_message(command, lacking, folder):
    """At SIGTERM a reader gets `bye`, and the process ends."""
    async with httpx2.AsyncClient(trust_env=False) as client:
        with running(command, lacking, folder) as example:
            reader = Reader(client, f"{example.url}/events")
            async with trio.open_nursery() as nursery:
                nursery.start_soon(reader.read_until, is_event("bye"))
                await reader.wait_for(is_event("clear"))
                example.process.terminate()
            await trio.to_thread.run_sync(example.process.wait, 15)
