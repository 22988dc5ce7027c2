"""Topics in forked processes, such as the workers of gunicorn with `--preload`."""

from __future__ import annotations

import json
import os
import subprocess
import sys

import pytest

pytestmark = pytest.mark.skipif(not hasattr(os, "fork"), reason="without fork")

PROGRAM = """
import json, os, signal, sys, threading
from roundel import Event, History
from roundel_adapters.topics import Topics

topics = Topics(signals=False)
own = Topics(lambda name, epoch: History("rows"), signals=False)
topics.publish("a", Event("start"), snapshot=Event("start"))
own.publish("a", Event("start"))
{before}
sys.stdout.flush()
for number in range(2):
    if not os.fork():
        {in_child}
        os._exit(0)
    os.wait()
"""


def run(in_child, before=""):
    """Run *in_child* in two children; return the lines that they print."""
    program = PROGRAM.format(in_child=in_child, before=before)
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", program],
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
    )
    assert not done.stderr, done.stderr
    return [json.loads(line) for line in done.stdout.splitlines()]


SHOW = "print(json.dumps({}), flush=True)"


def test_children_have_epochs_of_their_own():
    """No two processes use one epoch: their events at one offset differ."""
    publish = SHOW.format("str(topics.publish('a', Event(str(number))))")
    one, two, parent = [
        line.rsplit(".", 1)
        for line in run(publish, "\n" + publish.replace("number", "7"))
    ][-3:]

    assert 3 == len({str(position) for position in (one, two, parent)})


def test_child_keeps_the_events():
    """A child has the events that were published before the fork."""
    show = SHOW.format(
        "b''.join(topics.stream('a').data_to_send(0.0)).decode().split('\\n')[0]"
    )

    assert ["data: start"] * 2 == run(show)


def test_epoch_of_the_application_is_kept():
    """A child keeps an epoch that *make_history* has chosen itself."""
    show = SHOW.format("own.publish('a', Event('x')).epoch")

    assert ["rows"] * 2 == run(show)


def test_fork_while_another_thread_holds_the_lock():
    """A lock that another thread held at the fork does not block the child."""
    before = """
def hold():
    with topics._lock.lock:
        held.set()
        done.wait()

held, done = threading.Event(), threading.Event()
thread = threading.Thread(target=hold, daemon=True)
thread.start()
held.wait()
"""
    show = SHOW.format("bool(topics.publish('a', Event('x')))")

    assert [True, True] == run(show, before)


def test_signal_in_a_child():
    """A child ends its own streams at a signal, whatever ran in its parent."""
    before = """
import asyncio
topics = Topics()
signal.signal(signal.SIGTERM, lambda *_: None)

async def serve():
    stream = topics.stream("a")
    with topics.drain.track(stream, stream.wakeup):
        pass

asyncio.run(serve())
kept = topics.stream("a")
block = topics.drain.track(kept, kept.wakeup)
block.__enter__()
"""
    in_child = """
        stream = topics.stream("a")
        ended = threading.Event()
        class Waker:
            def wake(self):
                ended.set()
        stream.wakeup.wakers.add(Waker())
        with topics.drain.track(stream, stream.wakeup):
            os.kill(os.getpid(), signal.SIGTERM)
            ended.wait(10)
            text = b"".join(stream.data_to_send(0.0)).decode()
        print(json.dumps(["event: bye" in text, kept.deadline > 0]), flush=True)
"""

    assert [[True, True]] * 2 == run(in_child, before)
