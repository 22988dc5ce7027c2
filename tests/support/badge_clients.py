"""Badge clients of each kind, over a scripted HTTP transport, on virtual time.

A kind is an HTTP library and a way to run: synchronous, on trio or on asyncio.
"""

from __future__ import annotations

import asyncio
import inspect
import json

import anyio
import attrs
import httpx
import httpx2
import trio
import trio.testing

from roundel_adapters.testing import AsgiClient
from roundel_service.client import AsyncBadgeClient, BadgeClient

URL = "https://badges.test/prefix"
KEY = "a-producer-key-for-tests"
TOKEN = "a.users.token"
PROBLEM = "application/problem+json"
BADGE = {"epoch": "e", "v": 1, "unread": 1, "unseen": 1, "more": False, "by": {}}
TOTAL = {"unread": 1, "unseen": 1, "more": False}
RESULT = {"user": "alice", "item": "i", "v": 1, "epoch": "e", "badge": TOTAL}
NOTIFIED = {"results": [RESULT]}


@attrs.define
class VirtualClock:
    """A clock for synchronous code; waiting moves it."""

    now: float = 100.0
    delays: list[float] = attrs.field(factory=list)

    def __call__(self) -> float:
        return self.now

    def sleep(self, seconds: float) -> None:
        self.delays.append(seconds)
        self.now += seconds


@attrs.frozen
class Kind:
    """An HTTP *library*, and the *loop* of an asynchronous client."""

    library: object
    loop: str = ""

    def __str__(self) -> str:
        return f"{self.library.__name__}-{self.loop or 'sync'}"


KINDS = [
    Kind(library, loop)
    for library in (httpx2, httpx)
    for loop in ("", "trio", "asyncio")
]
VIRTUAL = [kind for kind in KINDS if kind.loop != "asyncio"]
"""The kinds whose time is virtual."""


def answer(document, status=200, media_type="application/json", **headers):
    """Script a JSON response; of a list, each entry is a line."""
    fields = {name.replace("_", "-"): value for name, value in headers.items()}
    if isinstance(document, list):
        media_type = "application/x-ndjson"
        content = b"".join(json.dumps(each).encode() + b"\n" for each in document)
    else:
        content = json.dumps(document).encode()
    return status, {"content-type": media_type, **fields}, content


def problem(status, name="x", **headers):
    """Script a problem document."""
    return answer(problem_document(status, name), status, PROBLEM, **headers)


def problem_document(status, name="x"):
    kind = f"urn:roundel:problem:{name}"
    return {"type": kind, "title": "X", "status": status, "detail": "it is away"}


@attrs.define
class Run:
    """What a call did: its result or error, the requests, their times, and the end."""

    result: object = None
    error: Exception | None = None
    requests: list = attrs.field(factory=list)
    times: list[float] = attrs.field(factory=list)
    elapsed: float = 0.0


def perform(kind, script, call, *, credential=None, drawn=0.0, options=None, **own):
    """Run *call* with a client that plays *script*; the last step repeats.

    A step is a response, the name of an exception of the library, the reason of a
    failed connection, or a number of seconds without a response. *own* are options of
    the HTTP client.
    """
    run = Run()
    given = {**(credential or {"key": KEY}), "random": lambda: drawn, **(options or {})}
    if not kind.loop:
        _perform_sync(run, kind.library, list(script), call, given, own)
    else:
        clock = trio.testing.MockClock(autojump_threshold=0)
        main = _perform_async(run, kind.library, list(script), call, given, own)
        if kind.loop == "trio":
            trio.run(_awaited, main, clock=clock)
        else:
            asyncio.run(main)
    return run


async def _awaited(coroutine):
    await coroutine


def _perform_sync(run, library, script, call, given, own):
    clock = VirtualClock()
    start = clock()

    def handle(request):
        run.requests.append(request)
        run.times.append(clock() - start)
        step = script.pop(0) if len(script) > 1 else script[0]
        if isinstance(step, float):
            # As the library does: it waits for the read timeout at most.
            clock.now += min(step, request.extensions["timeout"]["read"])
            raise library.ReadTimeout("timed out")
        return _response(library, step)

    with library.Client(transport=library.MockTransport(handle), **own) as http:
        client = BadgeClient(URL, client=http, clock=clock, sleep=clock.sleep, **given)
        try:
            run.result = call(client)
        except Exception as error:
            run.error = error
    run.elapsed = clock() - start


async def _perform_async(run, library, script, call, given, own):
    start = anyio.current_time()

    async def handle(request):
        run.requests.append(request)
        run.times.append(anyio.current_time() - start)
        step = script.pop(0) if len(script) > 1 else script[0]
        if isinstance(step, float):
            await anyio.sleep(step)
            raise library.ReadTimeout("timed out")
        return _response(library, step)

    transport = library.MockTransport(handle)
    async with library.AsyncClient(transport=transport, **own) as http:
        client = AsyncBadgeClient(URL, client=http, **given)
        try:
            run.result = call(client)
            if inspect.isawaitable(run.result):
                run.result = await run.result
        except Exception as error:
            run.error = error
    run.elapsed = anyio.current_time() - start


def _response(library, step):
    if isinstance(step, Exception):
        # As the library does: its own error, for a reason.
        raise library.ConnectError(str(step)) from step
    if isinstance(step, str):
        raise getattr(library, step)(f"scripted {step}")
    status, headers, content = step
    return library.Response(status, headers=headers, content=content)


@attrs.define
class LossyTransport(httpx2.AsyncBaseTransport):
    """Loses every other response, after the application has done the request."""

    transport: httpx2.AsyncBaseTransport
    requests: int = 0

    async def handle_async_request(self, request: httpx2.Request) -> httpx2.Response:
        response = await self.transport.handle_async_request(request)
        self.requests += 1
        if self.requests % 2:
            raise httpx2.ReadError("the response is lost")
        return response


@attrs.frozen
class AsgiTransport(httpx2.AsyncBaseTransport):
    """Sends the requests of an `AsyncClient` of httpx2 to an ASGI application."""

    client: AsgiClient

    async def handle_async_request(self, request: httpx2.Request) -> httpx2.Response:
        response = await self.client.request(
            request.method,
            request.url.raw_path.decode(),
            headers=dict(request.headers),
            body=await request.aread(),
        )
        return httpx2.Response(
            response.status, headers=dict(response.headers), content=response.body
        )
