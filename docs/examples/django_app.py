"""A badge, a job's progress and a log on one stream, with Django in one file.

uvicorn --app-dir docs/examples django_app:asgi --port 8000
hypercorn -w 0 -b 127.0.0.1:8000 docs/examples/django_app.py:asgi
gunicorn --threads 100 --bind 127.0.0.1:8000 --chdir docs/examples django_app:wsgi
"""

from threading import Thread

from django.conf import settings
from django.core.asgi import get_asgi_application
from django.core.wsgi import get_wsgi_application
from django.http import HttpResponse
from django.urls import path

from roundel import Event, History
from roundel_adapters.django import EventStreamResponse, last_event_id
from roundel_adapters.topics import Topics
from screen import PAGE, numbers, run_job


def make_history(name, epoch):
    if name == "log":
        return History(epoch, capacity=100, start=Event("", "clear"))
    return History(epoch, capacity=0, snapshot=Event(str(numbers[name]), name))


topics = Topics(make_history)
settings.configure(ALLOWED_HOSTS=["*"], ROOT_URLCONF=__name__)


def screen(request):
    return HttpResponse(PAGE.read_bytes())


def events(request):
    given = last_event_id(request)
    stream = topics.stream(["badge", "job", "log"], last_event_id=given)
    return EventStreamResponse(request, stream)


def run(request):
    Thread(target=run_job, args=[topics]).start()
    return HttpResponse(status=202)


urlpatterns = [path("", screen), path("events", events), path("run", run)]
asgi, wsgi = get_asgi_application(), get_wsgi_application()
