"""A badge, a job's progress and a log on one stream, with Quart-Trio.

python docs/examples/quart_trio_app.py 8000
hypercorn -k trio -w 0 -b 127.0.0.1:8000 docs/examples/quart_trio_app.py
"""

import sys
from signal import SIGINT, SIGTERM

import trio
from quart import request, send_file
from quart_trio import QuartTrio

from roundel import Event, History
from roundel_adapters.quart import stream_response
from roundel_adapters.quart_trio import prepare
from roundel_adapters.server import serve
from roundel_adapters.topics import Topics
from screen import PAGE, numbers, run_job


def make_history(name, epoch):
    if name == "log":
        return History(epoch, capacity=100, start=Event("", "clear"))
    return History(epoch, capacity=0, snapshot=Event(str(numbers[name]), name))


topics = Topics(make_history)
app = QuartTrio(__name__)
prepare(app)


@app.get("/")
async def screen():
    return await send_file(PAGE)


@app.get("/events")
async def events():
    given = request.headers.get("Last-Event-ID")
    return stream_response(topics.stream(["badge", "job", "log"], last_event_id=given))


@app.post("/run")
async def run():
    app.add_background_task(run_job, topics)
    return "", 202


async def main(port):
    listeners = await trio.open_tcp_listeners(port, host="127.0.0.1")
    with trio.open_signal_receiver(SIGTERM, SIGINT) as signals:
        await serve(app, listeners, shutdown=signals.__anext__)


if __name__ == "__main__":
    trio.run(main, int(sys.argv[1]))
