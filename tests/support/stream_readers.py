"""Runs of `connect()` on both event loops and of `connect_sync()`, in virtual time."""

from __future__ import annotations

import inspect
from contextlib import aclosing
from functools import partial

import anyio
import httpx
import httpx2
import pytest

from roundel import State
from roundel_adapters.client import EventSource, connect, connect_sync
from roundel_adapters.client.http_source import HttpSource, RequestOptions
from roundel_adapters.client.sync_driver import SyncDriver

from .asgi_peer import run as run_in_virtual_time
from .scripted_http import scripted_client, status

URL = "http://a.example/news"
LIBRARIES = pytest.mark.parametrize(
    "library", [pytest.param(each, id=each.__name__) for each in (httpx, httpx2)]
)
WAYS = pytest.mark.parametrize("way", ["trio", "asyncio", "sync"])


class VirtualToken:
    """The cancellation token of a synchronous reader in virtual time."""

    def __init__(self):
        self.time = 0.0
        self.is_cancelled = False

    def now(self):
        return self.time

    def wait(self, seconds):
        self.time += max(seconds, 0.0)
        return self.is_cancelled

    def watch(self, stream):
        """Without sockets there is none to shut down."""

    def disconnect(self):
        pass

    def release(self):
        pass

    def cancel(self):
        self.is_cancelled = True


def connect_in_virtual_time(clock, client, url, **options):
    """Call `connect_sync()` with its own defaults, but with *clock*."""
    bound = inspect.signature(connect_sync).bind(client, url, **options)
    bound.apply_defaults()
    arguments = bound.arguments
    names = ("client", "url", "method", "content", "headers")
    request = RequestOptions(*[arguments.pop(name) for name in names])
    make_source = partial(HttpSource, request, now=clock.now, **arguments)
    driver = SyncDriver(client, make_source, clock)
    return EventSource(driver.events(), clock)


class Run:
    """The events, comments, states, requests and the end of a subscription."""

    def __init__(self):
        self.received, self.states, self.sent = [], [], []
        self.end = None

    @property
    def events(self):
        """Return the data of the events."""
        return [each[1] for each in self.received if isinstance(each, tuple)]

    @property
    def requests(self):
        return [request for _, request in self.sent]

    @property
    def times(self):
        return [time for time, _ in self.sent]

    @property
    def delays(self):
        """Return the seconds of each wait."""
        return [delay for state, _, delay in self.states if state is State.WAITING]

    @property
    def reasons(self):
        return [reason for state, reason, _ in self.states if state is State.WAITING]

    def on_state(self, state, reason, delay):
        self.states.append((state, reason, delay))

    def on_event(self, event):
        self.received.append((event.type, event.data, event.id))


def play(way, library, *script, url=URL, pause=0.0, client_options=None, **options):
    """Read *script* to its end, one *pause* after each event, and return the run.

    A 204 follows the script. *on_comment* as True records the comments among the
    events.
    """
    run = Run()
    options = {"on_state": run.on_state, **options}
    if options.get("on_comment") is True:
        options["on_comment"] = run.received.append
    script = *script, status(204)
    read = _read_sync if way == "sync" else partial(_read, way)
    try:
        read(run, library, script, url, pause, client_options or {}, options)
    except Exception as error:
        run.end = error
    else:
        raise AssertionError("an iterator of events never ends without an error")
    return run


def _read_sync(run, library, script, url, pause, client_options, options):
    clock = VirtualToken()
    client, run.sent = scripted_client(library, *script, clock=clock, **client_options)
    with client, connect_in_virtual_time(clock, client, url, **options) as events:
        for event in events:
            run.on_event(event)
            clock.wait(pause)


def _read(way, run, library, script, url, pause, client_options, options):
    async def scenario():
        client, run.sent = scripted_client(library, *script, **client_options)
        async with client, aclosing(connect(client, url, **options)) as events:
            async for event in events:
                run.on_event(event)
                await anyio.sleep(pause)

    run_in_virtual_time(way, scenario)
