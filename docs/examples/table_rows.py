"""The rows of a table as a stream, which replays all rows after an id, with Starlette.

uvicorn --app-dir docs/examples table_rows:app --port 8000
hypercorn -w 0 -b 127.0.0.1:8000 docs/examples/table_rows.py
granian --interface asgi --working-dir docs/examples --port 8000 table_rows:app
"""

import os
import sqlite3
from contextlib import asynccontextmanager

import anyio
from starlette.applications import Starlette
from starlette.responses import Response
from starlette.routing import Route

from roundel import Cursor, Event, History, Stream
from roundel_adapters.drain import Drain
from roundel_adapters.starlette import EventStreamResponse, last_event_id
from roundel_adapters.wakeup import Wakeup

SCHEMA = """
CREATE TABLE IF NOT EXISTS message (
  id INTEGER PRIMARY KEY AUTOINCREMENT,  -- An id is never used again.
  body TEXT NOT NULL
);
CREATE TABLE IF NOT EXISTS stream (epoch TEXT NOT NULL, pruned INTEGER NOT NULL);
INSERT INTO stream SELECT hex(randomblob(4)), 0 WHERE NOT EXISTS (SELECT 1 FROM stream);
"""
STATE = "SELECT epoch, ifnull((SELECT seq FROM sqlite_sequence), 0) FROM stream"
# One statement, so that no row is pruned between two.
PAGE = """
SELECT pruned, id, body FROM stream LEFT JOIN message ON id > max(?, pruned)
ORDER BY id LIMIT 100
"""
CLEAR = Event("", "clear")

database = sqlite3.connect(
    os.environ.get("DATABASE", "messages.db"),
    isolation_level=None,
    check_same_thread=False,
)
database.executescript(SCHEMA)
changed = Wakeup()
drain = Drain()


class TableStream:
    """A stream whose history is a table: the offset of an event is the id of a row."""

    def __init__(self, given: str, now: float) -> None:
        epoch, newest = database.execute(STATE).fetchone()
        position = Cursor.parse(given).position("")
        if position and position.epoch == epoch and position.offset <= newest:
            offset = position.offset
        else:
            offset = max(newest - 20, 0)
        self._page = History(epoch, offset=offset, capacity=100, start=CLEAR)
        self._stream = Stream(self._page, now=now, last_event_id=given)
        self.close = self._stream.close
        self.wakeup, self.drain = changed, drain

    @property
    def is_open(self) -> bool:
        return self._stream.is_open

    @property
    def deadline(self) -> float:
        return self._stream.deadline

    def data_to_send(self, now: float) -> list[bytes]:
        chunks = self._stream.data_to_send(now)
        if not chunks and self.is_open:
            self._read_page()
            chunks = self._stream.data_to_send(now)
        return chunks

    def _read_page(self) -> None:
        offset = self._page.head.offset
        for pruned, row_id, body in database.execute(PAGE, [offset]).fetchall():
            if pruned > self._page.head.offset:
                self._page.skip_to_snapshot(CLEAR, offset=pruned)
            if row_id is not None:
                self._page.append(Event(body), offset=row_id)


async def events(request):
    stream = TableStream(last_event_id(request), anyio.current_time())
    return EventStreamResponse(stream)


async def post(request):
    body = (await request.body()).decode()
    database.execute("INSERT INTO message (body) VALUES (?)", [body])
    changed.notify()
    return Response(status_code=201)


async def watch():
    """Notice what other processes commit."""
    version = None
    while True:
        before, version = version, database.execute("PRAGMA data_version").fetchone()
        if version != before:
            changed.notify()
        await anyio.sleep(0.2)


@asynccontextmanager
async def lifespan(app):
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(watch)
        yield
        tasks.cancel_scope.cancel()


routes = [Route("/events", events), Route("/messages", post, methods=["POST"])]
app = Starlette(routes=routes, lifespan=lifespan)
