"""The extra `django`: a stream as the response of a Django view."""

from __future__ import annotations

from contextlib import closing

from django.conf import settings
from django.core.handlers.wsgi import WSGIHandler
from django.http import HttpRequest
from django.urls import path

from roundel import Event
from roundel_adapters.django import EventStreamResponse, last_event_id
from roundel_adapters.testing import WsgiClient
from roundel_adapters.topics import Topics

topics = Topics(signals=False)
topics.publish("news", Event("hello"), snapshot=Event("hello"))


def news(request: HttpRequest) -> EventStreamResponse:
    stream = topics.stream(["news"], last_event_id=last_event_id(request))
    return EventStreamResponse(request, stream)


urlpatterns = [path("news", news)]
settings.configure(ROOT_URLCONF=__name__, ALLOWED_HOSTS=["*"])

with closing(topics), WsgiClient(WSGIHandler()).stream("/news") as events:
    event = events.next_event()
    assert event is not None
    assert event.data == "hello"
