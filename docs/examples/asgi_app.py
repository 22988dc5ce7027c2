"""A badge, a job's progress and a log on one stream, as a plain ASGI application.

uvicorn --app-dir docs/examples asgi_app:app --port 8000
hypercorn --workers 0 --bind 127.0.0.1:8000 docs/examples/asgi_app.py
hypercorn -k trio -w 0 -b 127.0.0.1:8000 docs/examples/asgi_app.py
granian --interface asgi --working-dir docs/examples --port 8000 asgi_app:app
"""

from threading import Thread

from roundel import Event, History, read_last_event_id
from roundel_adapters.asgi import StreamResponse
from roundel_adapters.topics import Topics
from screen import PAGE, numbers, run_job


def make_history(name, epoch):
    if name == "log":
        return History(epoch, capacity=100, start=Event("", "clear"))
    return History(epoch, capacity=0, snapshot=Event(str(numbers[name]), name))


topics = Topics(make_history)


async def app(scope, receive, send):
    assert scope["type"] == "http"
    if scope["path"] == "/events":
        given = read_last_event_id(dict(scope["headers"]).get(b"last-event-id"))
        stream = topics.stream(["badge", "job", "log"], last_event_id=given)
        await StreamResponse(stream)(scope, receive, send)
        return
    if scope["path"] == "/run" and scope["method"] == "POST":
        Thread(target=run_job, args=[topics]).start()
    await send({"type": "http.response.start", "status": 200, "headers": []})
    await send({"type": "http.response.body", "body": PAGE.read_bytes()})
