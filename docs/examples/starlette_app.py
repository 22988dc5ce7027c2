"""A badge, a job's progress and a log on one stream, with Starlette.

uvicorn --app-dir docs/examples starlette_app:app --port 8000
hypercorn --workers 0 --bind 127.0.0.1:8000 docs/examples/starlette_app.py
granian --interface asgi --working-dir docs/examples --port 8000 starlette_app:app
"""

from starlette.applications import Starlette
from starlette.background import BackgroundTask
from starlette.responses import FileResponse, Response
from starlette.routing import Route

from roundel import Event, History
from roundel_adapters.starlette import EventStreamResponse, last_event_id
from roundel_adapters.topics import Topics
from screen import PAGE, numbers, run_job


def make_history(name, epoch):
    if name == "log":
        return History(epoch, capacity=100, start=Event("", "clear"))
    return History(epoch, capacity=0, snapshot=Event(str(numbers[name]), name))


topics = Topics(make_history)


async def screen(request):
    return FileResponse(PAGE)


async def events(request):
    given = last_event_id(request)
    stream = topics.stream(["badge", "job", "log"], last_event_id=given)
    return EventStreamResponse(stream)


async def run(request):
    return Response(status_code=202, background=BackgroundTask(run_job, topics))


app = Starlette(
    routes=[
        Route("/", screen),
        Route("/events", events),
        Route("/run", run, methods=["POST"]),
    ]
)
