"""A drain ends all streams, at a signal or by a call, on trio and on asyncio."""

from __future__ import annotations

import asyncio
import inspect
import os
import signal
import subprocess
import sys
import threading
from contextlib import contextmanager

import anyio
import pytest

from roundel import CloseMessage, Event
from roundel_adapters.asgi import LAST_WRITE_TIMEOUT, StreamResponse
from roundel_adapters.drain import Drain, default_close_message
from roundel_adapters.driver import iter_chunks_in_thread
from roundel_adapters.live_stream import responding
from roundel_adapters.topics import Topics
from support.asgi_peer import Page, Peer, all_tasks_wait, approx, on_both_loops, run


def bye():
    return CloseMessage(Event("over", "bye"), retry=5)


@on_both_loops
async def test_begin():
    """`begin()` ends each stream with a close message of its own, at once."""
    retries = iter([1000, 2000])
    drain = Drain(lambda: CloseMessage(Event("over", "bye"), next(retries)))
    one, two = Page(), Page()
    async with one.served(drain=drain) as first, two.served(drain=drain) as second:
        await anyio.sleep(1)
        assert not drain.has_begun
        drain.begin()
        await first.ended.wait()
        await second.ended.wait()

        assert 1.0 == approx(anyio.current_time())
        assert ["start", "over"] == first.received == second.received
        assert [1000, 2000] == [peer.retry for peer in (first, second)]
        assert first.is_complete
        assert second.is_complete


@on_both_loops
async def test_stream_after_the_begin():
    """A stream that is opened after `begin()` is closed at once."""
    drain = Drain(bye)
    drain.begin()
    page = Page()
    async with page.served(drain=drain) as peer:
        await peer.ended.wait()

        assert "over" == peer.received[-1]
        assert peer.is_complete


@on_both_loops
async def test_stream_that_has_ended_is_forgotten():
    """A drain holds no stream that has ended."""
    drain = Drain(bye)
    ended, page = Page(), Page()
    async with ended.served(drain=drain):
        pass
    async with page.served(drain=drain) as peer:
        drain.begin()
        await peer.ended.wait()

    assert ["start", "over"] == peer.received


@on_both_loops
async def test_cancelled_stream_has_last_words():
    """A response that the server cancels sends the close message before it ends."""
    page = Page()
    async with page.served(drain=Drain(bye)) as peer:
        await anyio.sleep(1)
        peer.task.cancel()
        await peer.ended.wait()

        assert ["start", "over"] == peer.received
        assert peer.is_complete


@on_both_loops
async def test_last_words_to_a_peer_that_does_not_read():
    """The last write is short, and the lifespan is exited before it."""
    page = Page()
    async with page.served(drain=Drain(bye)) as peer:
        peer.may_send = anyio.Event()
        peer.task.cancel()
        await all_tasks_wait()
        assert 1 == page.exited
        assert not peer.ended.is_set()
        await peer.ended.wait()

        assert LAST_WRITE_TIMEOUT == approx(anyio.current_time())


@on_both_loops
async def test_no_last_words_within_a_message():
    """A response that is cancelled during a send sends nothing else: it may be cut."""
    page = Page()
    async with page.served(drain=Drain(bye)) as peer:
        peer.may_send = anyio.Event()
        page.publish("news")
        await all_tasks_wait()
        peer.task.cancel()
        peer.may_send.set()
        await peer.ended.wait()

        assert "over" not in peer.received


@on_both_loops
async def test_no_last_words_after_a_disconnect():
    """A peer that disconnected gets no close message."""
    page = Page()
    async with page.served(drain=Drain(bye)) as peer:
        peer.disconnect.set()
        await peer.ended.wait()

        assert ["start"] == peer.received


def test_lifespan_is_exited_in_the_first_step():
    """A cancelled asyncio task exits its lifespan in one step: the process may end."""

    async def scenario():
        page = Page()
        response = StreamResponse(page.stream, page.wakeup, lifespan=page.lifespan())
        task = asyncio.create_task(Peer(response).run())
        await all_tasks_wait()
        task.cancel()
        await asyncio.sleep(0)
        exited = page.exited
        with pytest.raises(asyncio.CancelledError):
            await task

        assert 1 == exited

    run("asyncio", scenario)


@on_both_loops
async def test_error_of_a_lifespan():
    """An error at the entry of a lifespan is raised as it is, before the response."""
    page = Page()

    @contextmanager
    def full():
        raise KeyError("slots")
        yield

    peer = Peer(StreamResponse(page.stream, page.wakeup, lifespan=full()))
    with pytest.raises(KeyError):
        await peer.run()

    assert [] == peer.sent


# Signals.


@contextmanager
def handled(number, handler):
    """Set a handler as a server does."""
    before = signal.signal(number, handler)
    try:
        yield
    finally:
        signal.signal(number, before)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
@pytest.mark.parametrize("backend", ["trio", "asyncio"])
def test_signal(backend, number):
    """A signal ends the streams; the server's handler runs once, as before."""
    calls = []

    async def scenario():
        page, drain = Page(), Drain(bye)
        with handled(number, lambda got, frame: calls.append(got)):
            async with page.served(drain=drain) as peer:
                os.kill(os.getpid(), number)
                await peer.ended.wait()

                assert ["start", "over"] == peer.received
            assert approx(0.0) == anyio.current_time()

    run(backend, scenario)

    assert [number] == calls


def test_signal_of_an_asyncio_handler():
    """The handler of `loop.add_signal_handler()` runs too."""
    calls = []

    async def scenario():
        page, loop = Page(), asyncio.get_running_loop()
        loop.add_signal_handler(signal.SIGTERM, calls.append, "server")
        async with page.served(drain=Drain(bye)) as peer:
            os.kill(os.getpid(), signal.SIGTERM)
            await peer.ended.wait()
            await all_tasks_wait()
        loop.remove_signal_handler(signal.SIGTERM)

        assert ["start", "over"] == peer.received

    run("asyncio", scenario)

    assert ["server"] == calls


def test_signal_after_the_loop():
    """A signal after the end of the loop reaches the server's handler alone."""
    calls = []

    async def scenario():
        async with Page().served(drain=Drain(bye)):
            pass

    with handled(signal.SIGTERM, lambda got, frame: calls.append(got)):
        for backend in ("asyncio", "trio"):
            run(backend, scenario)
            os.kill(os.getpid(), signal.SIGTERM)

    assert [signal.SIGTERM] * 2 == calls


@pytest.mark.parametrize("backend", ["trio", "asyncio"])
def test_signal_after_the_loop_of_an_earlier_stream(backend):
    """Streams in threads end at a signal, also if an event loop has ended before."""
    drain = Drain(bye)
    topics = Topics(signals=False)
    stream = topics.stream("a")
    ended = threading.Event()

    class Waker:
        def wake(self):
            ended.set()

    async def scenario():
        async with Page().served(drain=drain):
            pass

    stream.wakeup.wakers.add(Waker())
    with handled(signal.SIGTERM, lambda got, frame: None):
        run(backend, scenario)
        with drain.track(stream, stream.wakeup):
            os.kill(os.getpid(), signal.SIGTERM)
            assert ended.wait(10)

    assert b"over" in b"".join(stream.data_to_send(0.0))


def test_many_drains_are_one_handler():
    """Many drains share one handler, which calls the server's once and keeps none."""
    calls, drains = [], []

    def depth_of_handler(got, frame):
        calls.append(len(inspect.stack()))

    with handled(signal.SIGTERM, depth_of_handler):
        for _ in range(2_000):
            Drain(bye).handle_signals()
        drains += [Drain(bye), Drain(bye)]
        for drain in drains:
            drain.handle_signals()
            drain.handle_signals()
        os.kill(os.getpid(), signal.SIGTERM)

    assert 1 == len(calls)
    assert calls[0] < 200
    for drain in drains:
        while not drain.has_begun:
            os.sched_yield()


def test_handler_of_a_second_server():
    """A drain is in front of a handler that a server has set after a stream, too."""
    calls, drain = [], Drain(bye)

    async def scenario():
        async with Page().served(drain=drain):
            signal.signal(signal.SIGTERM, lambda got, frame: calls.append("second"))
            async with Page().served(drain=drain) as peer:
                os.kill(os.getpid(), signal.SIGTERM)
                await peer.ended.wait()

    with handled(signal.SIGTERM, lambda got, frame: calls.append("first")):
        run("asyncio", scenario)

    assert ["second"] == calls


def test_stream_that_is_tracked_twice():
    """A stream can be tracked by its response and by its caller."""
    drain, page = Drain(bye), []

    async def scenario():
        page.append(Page())
        with drain.track(page[0].stream, page[0].wakeup):
            async with page[0].served(drain=drain) as peer:
                drain.begin()
                await peer.ended.wait()

                assert ["start", "over"] == peer.received

    run("asyncio", scenario)


def test_ignored_signal():
    """An ignored signal stays ignored."""

    async def scenario():
        async with Page().served(drain=Drain(bye)):
            assert signal.SIG_IGN is signal.getsignal(signal.SIGTERM)

    with handled(signal.SIGTERM, signal.SIG_IGN):
        run("asyncio", scenario)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGQUIT])
def test_signal_of_a_server_with_threads(number):
    """A drain that is made after the server's handlers ends streams in threads."""
    calls, received = [], []

    def read(stream):
        received.append(b"".join(iter_chunks_in_thread(stream)))

    with handled(number, lambda got, frame: calls.append(got)):
        topics = Topics(close_message=bye)
        streams = [topics.stream("news") for _ in range(3)]
        threads = [
            threading.Thread(target=respond, args=(s, read), daemon=True)
            for s in streams
        ]
        for thread in threads:
            thread.start()
        os.kill(os.getpid(), number)
        for thread in threads:
            thread.join(5)

    assert 3 == b"".join(received).count(b"event: bye")
    assert [number] == calls


DAEMONS = """
import os, signal, threading, time
from roundel_adapters.live_stream import responding
from roundel_adapters.driver import iter_chunks_in_thread
from roundel_adapters.topics import Topics

signal.signal(signal.SIGTERM, signal.default_int_handler)
topics = Topics()
topics.drain.handle_signals()
started = threading.Semaphore(0)

def respond(stream):
    with responding(stream):
        for chunk in iter_chunks_in_thread(stream):
            time.sleep(0.05)  # A slow write.
            os.write(1, chunk)
            started.release()

for _ in range(3):
    threading.Thread(target=respond, args=[topics.stream("a")], daemon=True).start()
for _ in range(3):
    started.acquire()
os.kill(os.getpid(), signal.SIGTERM)
"""


@pytest.mark.slow
def test_process_waits_for_last_writes():
    """A process whose streams run in daemon threads ends after their last words."""
    done = subprocess.run(
        [sys.executable, "-c", DAEMONS], capture_output=True, check=False, timeout=30
    )

    assert b"KeyboardInterrupt" in done.stderr
    assert 3 == done.stdout.count(b"event: bye")


def respond(stream, read):
    with responding(stream):
        read(stream)


def test_handlers_that_a_new_drain_leaves_alone():
    """A new drain leaves alone what is no server's handler, or that of a loop."""

    def server(number, frame):
        pass

    async def scenario():
        Drain(bye)

    with handled(signal.SIGINT, signal.default_int_handler):
        Drain(bye)
        assert signal.default_int_handler is signal.getsignal(signal.SIGINT)
    with handled(signal.SIGTERM, server):
        run("asyncio", scenario)
        Drain(bye, signals=False)
        thread = threading.Thread(target=Drain, args=(bye,))
        thread.start()
        thread.join()
        assert server is signal.getsignal(signal.SIGTERM)


WITHOUT_HANDLER = """
import os, signal, sys, anyio
from roundel_adapters.asgi import StreamResponse
from roundel_adapters.topics import Topics
from roundel import Event

async def receive():
    await anyio.sleep_forever()

async def send(message):
    os.write(1, message.get("body", b""))
    if b"hello" in message.get("body", b""):
        os.kill(os.getpid(), signal.SIGTERM)

async def main():
    topics = Topics()
    topics.publish("a", Event("hello"), snapshot=Event("hello"))
    response = StreamResponse(topics.stream("a"))
    await response({"http_version": "1.1", "method": "GET"}, receive, send)
    await anyio.sleep(60)

anyio.run(main, backend=sys.argv[1])
"""


@pytest.mark.slow
@pytest.mark.parametrize("backend", ["trio", "asyncio"])
def test_signal_with_the_default_action(backend):
    """SIGTERM without a handler ends the streams first, and the process after it."""
    done = subprocess.run(
        [sys.executable, "-c", WITHOUT_HANDLER, backend],
        capture_output=True,
        timeout=30,
        check=False,
    )

    assert b"event: bye" in done.stdout, done.stderr
    assert -signal.SIGTERM == done.returncode


@pytest.mark.slow
def test_signal_without_streams_and_without_a_handler():
    """Without an open stream the default action comes at once."""
    program = (
        "import os, time; from roundel_adapters.drain import Drain;"
        "drain = Drain(); drain.handle_signals();"
        "os.kill(os.getpid(), 15); time.sleep(0.9); print(1)"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, timeout=30, check=False
    )

    assert (b"", -signal.SIGTERM) == (done.stdout, done.returncode)


def test_thread_without_signals():
    """In another thread than the main one `begin()` works."""
    received = []

    async def scenario():
        drain, page = Drain(bye), Page()
        async with page.served(drain=drain) as peer:
            drain.begin()
            await peer.ended.wait()
            received.extend(peer.received)

    thread = threading.Thread(target=run, args=("asyncio", scenario))
    thread.start()
    thread.join(10)

    assert ["start", "over"] == received


def test_default_close_message():
    """The default says `bye`, and spreads the reconnects over 5 seconds."""
    messages = [default_close_message() for _ in range(100)]

    assert {Event('{"reason":"drain"}', "bye")} == {m.event for m in messages}
    assert all(5_000 <= message.retry < 10_000 for message in messages)
    assert 50 < len({message.retry for message in messages})
