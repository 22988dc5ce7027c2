"""The scenarios' application in Django, under ASGI and under WSGI."""

from __future__ import annotations

import sys

import django
from django.conf import settings
from django.core.handlers.asgi import ASGIHandler
from django.core.handlers.wsgi import WSGIHandler
from django.http import HttpResponse, JsonResponse
from django.urls import path

from roundel_adapters.django import EventStreamResponse, last_event_id

from . import shared

if not settings.configured:
    settings.configure(
        ALLOWED_HOSTS=["*"],
        DATABASES={
            "default": {"ENGINE": "django.db.backends.sqlite3", "NAME": "/dev/null"}
        },
        MIDDLEWARE=[
            "django.middleware.gzip.GZipMiddleware",
            "django.contrib.sessions.middleware.SessionMiddleware",
            "django.middleware.common.CommonMiddleware",
            "django.middleware.http.ConditionalGetMiddleware",
            f"{__name__}.set_caller",
        ],
        ROOT_URLCONF=__name__,
        SECRET_KEY="secret",
        SESSION_ENGINE="django.contrib.sessions.backends.signed_cookies",
        USE_TZ=True,
    )
    django.setup()


def set_caller(get_response):
    """Set the caller; an old middleware, which runs in a thread under ASGI."""

    def middleware(request):
        token = shared.caller.set(request.headers.get("X-Caller", ""))
        try:
            return get_response(request)
        finally:
            shared.caller.reset(token)

    return middleware


def events(request):
    is_asgi = hasattr(request, "scope")
    heartbeat = 15.0 if is_asgi else shared.WSGI_HEARTBEAT
    query = shared.Query(request.META["QUERY_STRING"], heartbeat=heartbeat)
    return EventStreamResponse(
        request,
        shared.open_stream(query, last_event_id(request)),
        headers=shared.OWN_HEADERS,
        lifespan=shared.lifespan(),
        write_timeout=query.write_timeout,
    )


def publish(request, topic):
    shared.publish(topic, request.body)
    return HttpResponse()


def stats(request):
    return JsonResponse(shared.stats())


urlpatterns = [
    path("events", events),
    path("publish/<topic>", publish),
    path("stats", stats),
]

asgi = ASGIHandler()
wsgi = WSGIHandler()

if __name__ == "__main__":
    # As `manage.py` does.
    from django.core.management import execute_from_command_line

    execute_from_command_line(sys.argv)
