"""The scenarios' application in Starlette, with middleware around it."""

from __future__ import annotations

from itertools import chain

from opentelemetry.instrumentation.asgi import OpenTelemetryMiddleware
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.middleware.base import BaseHTTPMiddleware
from starlette.middleware.cors import CORSMiddleware
from starlette.middleware.gzip import GZipMiddleware
from starlette.middleware.sessions import SessionMiddleware
from starlette.middleware.trustedhost import TrustedHostMiddleware
from starlette.routing import Mount

from . import shared
from .starlette_app import ROUTES

spans = InMemorySpanExporter()
tracing = TracerProvider()
tracing.add_span_processor(SimpleSpanProcessor(spans))


class SetCaller(BaseHTTPMiddleware):
    """Sets the context variable in its own task, and a header of the response."""

    async def dispatch(self, request, call_next):
        shared.caller.set(request.headers.get("x-caller", ""))
        response = await call_next(request)
        response.headers["x-base"] = "1"
        return response


STACKS = {
    "gzip": [Middleware(GZipMiddleware, minimum_size=0)],
    "cors": [Middleware(CORSMiddleware, allow_origins=["*"], allow_credentials=True)],
    "sessions": [Middleware(SessionMiddleware, secret_key="secret")],
    "base": [Middleware(SetCaller), Middleware(SetCaller)],
    "trusted_host": [Middleware(TrustedHostMiddleware, allowed_hosts=["127.0.0.1"])],
    "telemetry": [Middleware(OpenTelemetryMiddleware, tracer_provider=tracing)],
}

gzip, cors, sessions, base, trusted_host, telemetry = (
    Starlette(routes=ROUTES, middleware=stack) for stack in STACKS.values()
)
every = Starlette(routes=ROUTES, middleware=[*chain(*STACKS.values())])
mounted = Starlette(routes=[Mount("/a", routes=[Mount("/b", every)])])
