"""A badge, a job's progress and a log on one stream, with Quart on asyncio.

hypercorn --workers 0 --bind 127.0.0.1:8000 docs/examples/quart_app.py
uvicorn --app-dir docs/examples quart_app:app --port 8000
"""

from quart import Quart, request, send_file

from roundel import Event, History
from roundel_adapters.quart import stream_response
from roundel_adapters.topics import Topics
from screen import PAGE, numbers, run_job


def make_history(name, epoch):
    if name == "log":
        return History(epoch, capacity=100, start=Event("", "clear"))
    return History(epoch, capacity=0, snapshot=Event(str(numbers[name]), name))


topics = Topics(make_history)
app = Quart(__name__)


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
