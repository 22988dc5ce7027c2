"""An event stream without Roundel that can have a flaw."""

from __future__ import annotations

import secrets
from contextlib import suppress
from enum import Enum

import anyio

from support.asgi_apps import START, body_message

HEARTBEAT = 15.0


class StreamFlaw(Enum):
    """One promise that an event stream breaks, and its name."""

    IGNORES_DISCONNECT = ("disconnect", "the response continues after the disconnect")
    IS_TEXT = ("headers", "the content type is text/plain")
    IS_CACHED = ("headers", "there is no Cache-Control")
    IS_COMPRESSED = ("headers", "the body is compressed")
    HEAD_STREAMS = ("head", "HEAD is answered like GET")
    HEAD_FAILS = ("head", "HEAD is answered with 500")
    POLLS = ("live_events", "events are sent with the next heartbeat")
    REVERSES = ("order", "events that were published together come in reverse order")
    ONE_CLIENT = ("order", "an event is sent to one client")
    SENDS_TWICE = ("order", "an event is sent twice")
    NO_IDS = ("ids", "events have no id")
    SAME_ID = ("ids", "all events have the same id")
    FORGETS = ("resume", "the last event id is ignored")
    SKIPS_ONE = ("resume", "the first missed event is skipped")
    REPLAYS_ALL = ("no_duplicates", "a client gets all events at each connection")
    REPLAYS_ONE = ("no_duplicates", "the event of the last event id is sent again")
    ID_FIRST = ("cut_anywhere", "the id is sent in a block before the data")
    REFUSES_IDS = ("unknown_id", "an unknown id is answered with 400")
    FAILS = ("unknown_id", "an unknown id raises an exception")
    ENDS = ("unknown_id", "a stream with an unknown id ends at once")
    WAITS_FOR_SLOW = ("slow_client", "publish() waits for each client")
    DROPS_SLOW = ("slow_client", "a client with ten waiting events gets no more")
    IS_SILENT = ("heartbeat", "a silent stream sends nothing")
    COUNTS_ANEW = ("restart", "ids begin anew, and older ones are not known as such")
    STAYS = ("shutdown", "streams stay open at shutdown")
    NO_RETRY = ("shutdown", "streams end without a retry")

    @property
    def promise(self) -> str:
        """The promise that it breaks."""
        return self.value[0]


class FlawedStream:
    """An ASGI application with one event stream and, if given, a flaw."""

    def __init__(self, flaw: StreamFlaw | None = None) -> None:
        self.flaw = flaw
        self.epoch = "" if flaw is StreamFlaw.COUNTS_ANEW else secrets.token_hex(4)
        self.texts: list[str] = []
        self.changed = anyio.Event()
        self.readers: dict[int, int] = {}
        self.is_draining = False

    def has(self, *flaws: StreamFlaw) -> bool:
        return self.flaw in flaws

    async def publish(self, text: str) -> None:
        self.texts.append(text)
        at = len(self.texts)
        self._wake()
        if self.has(StreamFlaw.WAITS_FOR_SLOW):
            while min(self.readers.values(), default=at) < at:  # noqa: ASYNC110
                await anyio.sleep(0.02)

    def shut_down(self) -> None:
        self.is_draining = not self.has(StreamFlaw.STAYS)
        self._wake()

    def _wake(self) -> None:
        self.changed.set()
        self.changed = anyio.Event()

    async def __call__(self, scope, receive, send) -> None:
        status = 200
        if scope["method"] == "HEAD" and self.has(StreamFlaw.HEAD_FAILS):
            status = 500
        cursor = dict(scope["headers"]).get(b"last-event-id", b"").decode()
        start = self._start_of(cursor)
        if start is None and self.has(StreamFlaw.REFUSES_IDS):
            status = 400
        if start is None and self.has(StreamFlaw.FAILS):
            raise ValueError(cursor)
        await send({**START, "status": status, "headers": list(self._headers())})
        is_stream = scope["method"] == "GET" or self.has(StreamFlaw.HEAD_STREAMS)
        if status == 200 and is_stream:
            first = len(self.texts) if start is None else start
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(self._end_at_disconnect, receive, tasks.cancel_scope)
                if start is not None or not self.has(StreamFlaw.ENDS):
                    await self._stream(send, first)
                tasks.cancel_scope.cancel()
        with suppress(anyio.BrokenResourceError):
            await send(body_message(b"", more=False))

    def _headers(self):
        kind = "plain" if self.has(StreamFlaw.IS_TEXT) else "event-stream"
        yield b"content-type", f"text/{kind}; charset=utf-8".encode()
        if not self.has(StreamFlaw.IS_CACHED):
            yield b"cache-control", b"no-cache"
        if self.has(StreamFlaw.IS_COMPRESSED):
            yield b"content-encoding", b"gzip"

    async def _end_at_disconnect(self, receive, scope) -> None:
        while (await receive())["type"] != "http.disconnect":
            pass
        if not self.has(StreamFlaw.IGNORES_DISCONNECT):
            scope.cancel()

    def _start_of(self, cursor: str) -> int | None:
        """Return the index of the first missed text; `None` for an unknown id."""
        if self.has(StreamFlaw.REPLAYS_ALL):
            return 0
        if not cursor or self.has(StreamFlaw.FORGETS):
            return len(self.texts)
        epoch, _, number = cursor.rpartition(".")
        if epoch != self.epoch or not number.isdecimal():
            return None
        if int(number) > len(self.texts) and not self.has(StreamFlaw.COUNTS_ANEW):
            return None
        shift = self.has(StreamFlaw.SKIPS_ONE) - self.has(StreamFlaw.REPLAYS_ONE)
        return int(number) + shift

    async def _stream(self, send, at: int) -> None:
        reader = id(send)
        self.readers[reader] = at
        heartbeat = 1e9 if self.has(StreamFlaw.IS_SILENT) else HEARTBEAT
        try:
            while not self.is_draining:
                if at < len(self.texts) and not self.has(StreamFlaw.POLLS):
                    at = await self._send_texts(send, at)
                    self.readers[reader] = at
                    continue
                with anyio.move_on_after(heartbeat):
                    await self.changed.wait()
                    if not self.has(StreamFlaw.POLLS):
                        continue
                    await anyio.sleep_forever()
                at = await self._send_texts(send, at)
                await send_body(send, ": heartbeat\n\n")
            if not self.has(StreamFlaw.NO_RETRY):
                await send_body(send, "retry: 3000\n\n")
        finally:
            del self.readers[reader]

    async def _send_texts(self, send, at: int) -> int:
        end = len(self.texts)
        numbered = list(enumerate(self.texts[at:], at + 1))
        if self.has(StreamFlaw.DROPS_SLOW) and len(numbered) > 10:
            await anyio.sleep_forever()
        if self.has(StreamFlaw.REVERSES):
            numbered.reverse()
        if self.has(StreamFlaw.ONE_CLIENT) and id(send) != min(self.readers):
            numbered = []
        for number, text in numbered:
            for _ in range(1 + self.has(StreamFlaw.SENDS_TWICE)):
                await send_body(send, *self._event(number, text))
        return max(at, end)

    def _event(self, number: int, text: str) -> list[str]:
        if self.has(StreamFlaw.SAME_ID):
            number = 1
        block = f"id: {self.epoch}.{number}\n"
        if self.has(StreamFlaw.NO_IDS):
            block = ""
        if self.has(StreamFlaw.ID_FIRST):
            return [f"{block}\n", f"data: {text}\n\n"]
        return [f"{block}data: {text}\n\n"]


async def send_body(send, *blocks: str) -> None:
    for block in blocks:
        await send(body_message(block.encode()))
