"""The short way without a socket, so that the contract is tested both ways."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from contextlib import aclosing
from typing import Any, final

import trio
from hypercorn.typing import ASGIReceiveCallable, ASGISendCallable, Scope

from roundel_adapters.driver import frames
from roundel_adapters.server.fastpath import interface as plain
from roundel_service.app import Service


@final
class ShortWay:
    """An ASGI app that sends what the service's shortcut takes through it."""

    def __init__(self, service: Service) -> None:
        self._service = service

    async def __call__(
        self, scope: Scope, receive: ASGIReceiveCallable, send: ASGISendCallable
    ) -> None:
        short: plain.App = self._service.short
        if scope["type"] != "http" or not short.takes(scope["method"], _path(scope)):
            await self._service.app(scope, receive, send)
            return
        with trio.CancelScope() as until_cut:
            body = _Body(receive, until_cut)
            if scope["method"] == "POST":
                await body.look()
            reply = await short(_request(scope, body))
            await _Answer(receive, send).write(reply)


@final
class _Answer:
    """A reply as ASGI messages."""

    def __init__(self, receive: ASGIReceiveCallable, send: Any) -> None:
        self._receive = receive
        self._send = send

    async def write(self, reply: plain.Reply) -> None:
        match reply:
            case plain.Whole():
                has_length = reply.status not in (204, 304)
                length = {"content-length": str(len(reply.body))} if has_length else {}
                await self._start(reply, length)
                await self._piece(reply.body, more=False)
            case plain.Pieces():
                await self._start(reply, {})
                async with aclosing(reply.body) as pieces:
                    async for piece in pieces:
                        await self._piece(piece)
                await self._piece(b"", more=False)
            case plain.Events():
                await self._start(reply, {})
                async with trio.open_nursery() as nursery:
                    nursery.start_soon(self._until_gone, nursery.cancel_scope)
                    await self._write_events(reply)
                    nursery.cancel_scope.cancel()

    async def _write_events(self, reply: plain.Events) -> None:
        with reply.within:
            try:
                async with aclosing(frames(reply.talker, reply.bell)) as pieces:
                    async for piece in pieces:
                        await self._piece(piece)
            finally:
                reply.talker.close()
        await self._piece(b"", more=False)

    async def _until_gone(self, peer: trio.CancelScope) -> None:
        while (await self._receive())["type"] != "http.disconnect":
            pass
        peer.cancel()

    async def _start(self, reply: plain.Reply, framing: Mapping[str, str]) -> None:
        fields = {**reply.headers, **framing}.items()
        headers = [(n.lower().encode(), v.encode("latin-1")) for n, v in fields]
        start = {"type": "http.response.start", "status": reply.status}
        await self._send({**start, "headers": headers})

    async def _piece(self, body: bytes, *, more: bool = True) -> None:
        if body or not more:
            await self._send(
                {"type": "http.response.body", "body": body, "more_body": more}
            )


def _path(scope: Any) -> str:
    path: str = scope["raw_path"].decode("latin-1")
    return path


def _request(scope: Any, body: plain.Body) -> plain.Request:
    fields = [(n.decode().lower(), v.decode("latin-1")) for n, v in scope["headers"]]
    return plain.Request(
        method=scope["method"],
        path=_path(scope),
        query=scope["query_string"],
        fields=plain.Fields(fields),
        body=body,
    )


@final
class _Body:
    """The body of a request; with a peer that is gone, so is the request."""

    def __init__(self, receive: ASGIReceiveCallable, until_cut: trio.CancelScope):
        self._receive = receive
        self._until_cut = until_cut
        self._come: list[Any] = []
        self._is_over = False

    async def look(self) -> None:
        """See what has come already, as a connection does with its first bytes."""
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self._look)
            # A body that is there needs no more than its sender's turn.
            for _ in range(3):
                await trio.lowlevel.checkpoint()
            nursery.cancel_scope.cancel()

    async def _look(self) -> None:
        self._come.append(await self._receive())

    def at_hand(self) -> bytes | None:
        match self._come:
            case [{"type": "http.request", "body": body, "more_body": False}]:
                self._is_over = True
                return body
        return None

    def __aiter__(self) -> AsyncIterator[bytes]:
        return self

    async def __anext__(self) -> bytes:
        if self._is_over:
            raise StopAsyncIteration
        message = self._come.pop() if self._come else await self._receive()
        if message["type"] != "http.request":
            self._until_cut.cancel()
            await trio.sleep_forever()
        self._is_over = not message["more_body"]
        return message["body"]
