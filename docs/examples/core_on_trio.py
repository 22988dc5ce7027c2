"""A badge, a job's progress and a log on one stream: the core and h11, on trio.

python docs/examples/core_on_trio.py 8000
"""

import sys
from contextlib import suppress
from functools import partial
from random import randrange
from secrets import token_urlsafe
from signal import SIGINT, SIGTERM

import h11
import trio

from roundel import (
    CloseMessage,
    Event,
    History,
    Stream,
    read_last_event_id,
    stream_headers,
)
from roundel_adapters.wakeup import Wakeup
from screen import PAGE

epoch = token_urlsafe(6)
topics = {
    "badge": History(epoch, capacity=0, snapshot=Event("0", "badge")),
    "job": History(epoch, capacity=0, snapshot=Event("0", "job")),
    "log": History(epoch, capacity=100, start=Event("", "clear")),
}
wakeup = Wakeup()
open_streams = set()


def publish(name, data):
    topics[name].append(Event(str(data), name))
    wakeup.notify()


async def run_job():
    for percent in range(10, 101, 10):
        await trio.sleep(0.1)
        publish("log", f"{percent} % done")
        publish("job", percent)
    publish("badge", topics["badge"].head.offset + 1)


async def drive(stream, send):
    while stream.is_open:
        if chunks := stream.data_to_send(trio.current_time()):
            await send(h11.Data(b"".join(chunks)))
        else:
            with trio.move_on_at(stream.deadline):
                await wakeup.wait()


async def respond(nursery, request, send):
    headers = stream_headers() if request.target == b"/events" else []
    await send(
        h11.Response(status_code=200, headers=[*headers, ("Connection", "close")])
    )
    if request.target == b"/events":
        given = read_last_event_id(dict(request.headers).get(b"last-event-id"))
        stream = Stream(topics, now=trio.current_time(), last_event_id=given)
        open_streams.add(stream)
        try:
            await drive(stream, send)
        finally:
            open_streams.remove(stream)
    elif request.target == b"/run" and request.method == b"POST":
        nursery.start_soon(run_job)
    else:
        await send(h11.Data(PAGE.read_bytes()))
    await send(h11.EndOfMessage())


async def handle(nursery, connection):
    http = h11.Connection(h11.SERVER)

    async def send(message):
        with trio.fail_after(30):
            await connection.send_all(http.send(message))

    # The peer is gone, it does not read, or it does not speak HTTP.
    with suppress(trio.BrokenResourceError, trio.TooSlowError, h11.RemoteProtocolError):
        while (request := http.next_event()) is h11.NEED_DATA:
            http.receive_data(await connection.receive_some())
        if isinstance(request, h11.Request):
            await respond(nursery, request, send)


async def main(port):
    async with trio.open_nursery() as nursery:
        with trio.open_signal_receiver(SIGTERM, SIGINT) as signals:
            serve = partial(
                trio.serve_tcp, partial(handle, nursery), port, host="127.0.0.1"
            )
            nursery.start_soon(serve)
            await anext(signals)
        for stream in open_streams:
            retry = randrange(5_000, 10_000)
            stream.close(CloseMessage(Event('{"reason":"drain"}', "bye"), retry))
        wakeup.notify()
        nursery.cancel_scope.deadline = trio.current_time() + 1.0


trio.run(main, int(sys.argv[1]))
