"""A badge, a job's progress and a log on one stream, with Flask.

gunicorn --threads 100 --bind 127.0.0.1:8000 --chdir docs/examples flask_app:app
"""

from threading import Thread

from flask import Flask, request, send_file

from roundel import Event, History
from roundel_adapters.flask import stream_response
from roundel_adapters.topics import Topics
from screen import PAGE, numbers, run_job


def make_history(name, epoch):
    if name == "log":
        return History(epoch, capacity=100, start=Event("", "clear"))
    return History(epoch, capacity=0, snapshot=Event(str(numbers[name]), name))


topics = Topics(make_history)
app = Flask(__name__)


@app.get("/")
def screen():
    return send_file(PAGE)


@app.get("/events")
def events():
    given = request.headers.get("Last-Event-ID")
    return stream_response(topics.stream(["badge", "job", "log"], last_event_id=given))


@app.post("/run")
def run():
    Thread(target=run_job, args=[topics]).start()
    return "", 202
