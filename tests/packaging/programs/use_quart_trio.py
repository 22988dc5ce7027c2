"""The extra `quart-trio`: a Quart-Trio application on our server."""

from __future__ import annotations

import trio
from quart import Response
from quart_trio import QuartTrio

from roundel import Event
from roundel_adapters import server
from roundel_adapters.quart import stream_response
from roundel_adapters.quart_trio import prepare
from roundel_adapters.topics import Topics

topics = Topics(signals=False)
topics.publish("news", Event("hello"), snapshot=Event("hello"))
app = QuartTrio(__name__)
prepare(app)


@app.get("/news")
async def news() -> Response:
    return stream_response(topics.stream(["news"]))


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
            async with await trio.open_tcp_stream("127.0.0.1", port) as stream:
                await stream.send_all(b"GET /news HTTP/1.1\r\nHost: test\r\n\r\n")
                received = b""
                while b"data: hello" not in received:
                    received += await stream.receive_some()
                stopping.set()
                topics.close()
                while b"event: bye" not in received:
                    received += await stream.receive_some()


trio.run(main)
