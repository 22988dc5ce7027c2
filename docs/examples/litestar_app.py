"""A badge, a job's progress and a log on one stream, with Litestar.

uvicorn --app-dir docs/examples litestar_app:app --port 8000
hypercorn -w 0 -b 127.0.0.1:8000 docs/examples/litestar_app.py
granian --interface asgi --working-dir docs/examples --port 8000 litestar_app:app
"""

from litestar import Litestar, Request, get, post
from litestar.background_tasks import BackgroundTask
from litestar.response import File, Response
from litestar.types import ASGIApp

from roundel import Event, History
from roundel_adapters.asgi import StreamResponse
from roundel_adapters.topics import Topics
from screen import PAGE, numbers, run_job


def make_history(name, epoch):
    if name == "log":
        return History(epoch, capacity=100, start=Event("", "clear"))
    return History(epoch, capacity=0, snapshot=Event(str(numbers[name]), name))


topics = Topics(make_history)


@get("/")
async def screen() -> File:
    return File(PAGE, content_disposition_type="inline")


@get("/events")
async def events(request: Request) -> ASGIApp:
    given = request.headers.get("last-event-id")
    return StreamResponse(topics.stream(["badge", "job", "log"], last_event_id=given))


@post("/run", status_code=202)
async def run() -> Response[None]:
    return Response(None, background=BackgroundTask(run_job, topics))


app = Litestar([screen, events, run])
