"""Middleware around a stream, without a server."""

from __future__ import annotations

import pytest
import trio
from opentelemetry import trace
from opentelemetry.instrumentation.asgi import OpenTelemetryMiddleware
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.middleware.base import BaseHTTPMiddleware
from starlette.routing import Route

from roundel import Event
from roundel_adapters.starlette import EventStreamResponse
from roundel_adapters.testing import AsgiClient
from roundel_adapters.topics import Topics

topics = Topics(signals=False)


def trace_id():
    return trace.format_trace_id(trace.get_current_span().get_span_context().trace_id)


async def events(request):
    return EventStreamResponse(topics.stream("a", hello=show_trace))


def show_trace(_resume):
    return Event(trace_id(), "hello")


ROUTES = [Route("/", events)]


@pytest.mark.parametrize(
    ("options", "spans_are_few"),
    [({}, False), ({"exclude_spans": ["send", "receive"]}, True)],
    ids=["default", "as documented"],
)
async def test_spans_of_a_stream(options, spans_are_few):
    """OpenTelemetry makes a span for each chunk, unless they are excluded."""
    exporter, provider = InMemorySpanExporter(), TracerProvider()
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    app = OpenTelemetryMiddleware(
        Starlette(routes=ROUTES), tracer_provider=provider, **options
    )
    with trio.fail_after(10):
        async with AsgiClient(app).stream("/") as stream:
            hello = await stream.next_event()
            for number in range(2):
                topics.publish("a", Event(f"{number}"))
                assert f"{number}" == (await stream.next_event()).data
    spans = exporter.get_finished_spans()
    of_request = [span for span in spans if span.parent is None]

    assert spans_are_few is (len(spans) == 1)
    assert [hello.data] == [
        trace.format_trace_id(span.context.trace_id) for span in of_request
    ]


class Failing(BaseHTTPMiddleware):
    """Fails after the response has started."""

    async def dispatch(self, request, call_next):
        await call_next(request)
        raise ValueError("in the middleware")


async def test_error_of_a_middleware_ends_the_stream():
    """A middleware that drops the response leaves no stream behind."""
    app = Starlette(routes=ROUTES, middleware=[Middleware(Failing)])
    with trio.fail_after(10), pytest.raises(ValueError, match="middleware"):
        async with AsgiClient(app).stream("/") as stream:
            await stream.next_event()

    assert not topics._topics["a"].streams
