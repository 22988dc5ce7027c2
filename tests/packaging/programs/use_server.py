"""The extra `server`: an ASGI application on our server, over a socket."""

from __future__ import annotations

import trio
from hypercorn.typing import ASGIReceiveCallable, ASGISendCallable, Scope

from roundel_adapters import server


async def app(
    scope: Scope, receive: ASGIReceiveCallable, send: ASGISendCallable
) -> None:
    if scope["type"] == "lifespan":
        await receive()
        await send({"type": "lifespan.startup.complete"})
        await receive()
        await send({"type": "lifespan.shutdown.complete"})
    else:
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": b"hello", "more_body": False})


async def main() -> None:
    (listener,) = await server.listen("127.0.0.1", 0)
    port = listener.socket.getsockname()[1]
    stopping = trio.Event()
    with trio.fail_after(20):
        async with trio.open_nursery() as nursery:

            async def run(task_status: trio.TaskStatus[None]) -> None:
                await server.serve(
                    app, [listener], shutdown=stopping.wait, task_status=task_status
                )

            await nursery.start(run)
            stream = await trio.open_tcp_stream("127.0.0.1", port)
            head = b"GET / HTTP/1.1\r\nHost: test\r\nConnection: close\r\n\r\n"
            async with stream:
                await stream.send_all(head)
                received = b"".join([chunk async for chunk in stream])
            assert received.endswith(b"hello\r\n0\r\n\r\n"), received
            stopping.set()


trio.run(main)
