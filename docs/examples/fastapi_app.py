"""A badge, a job's progress and a log on one stream, with FastAPI.

uvicorn --app-dir docs/examples fastapi_app:app --port 8000
hypercorn -w 0 -b 127.0.0.1:8000 docs/examples/fastapi_app.py
granian --interface asgi --working-dir docs/examples --port 8000 fastapi_app:app
gunicorn --chdir docs/examples -k uvicorn_worker.UvicornWorker -b :8000 fastapi_app:app
"""

from typing import Annotated

from fastapi import BackgroundTasks, Depends, FastAPI
from fastapi.responses import FileResponse

from roundel import Event, History
from roundel_adapters.starlette import EventStreamResponse, last_event_id
from roundel_adapters.topics import Topics
from screen import PAGE, numbers, run_job


def make_history(name, epoch):
    if name == "log":
        return History(epoch, capacity=100, start=Event("", "clear"))
    return History(epoch, capacity=0, snapshot=Event(str(numbers[name]), name))


topics = Topics(make_history)
app = FastAPI()


@app.get("/")
async def screen() -> FileResponse:
    return FileResponse(PAGE)


@app.get("/events")
async def events(given: Annotated[str, Depends(last_event_id)]) -> EventStreamResponse:
    stream = topics.stream(["badge", "job", "log"], last_event_id=given)
    return EventStreamResponse(stream)


@app.post("/run", status_code=202)
async def run(background: BackgroundTasks) -> None:
    background.add_task(run_job, topics)
