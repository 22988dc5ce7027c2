"""The lock whose holder can be interrupted by code that needs it too."""

from __future__ import annotations

import threading

from roundel_adapters.topics.deferring_lock import DeferringLock


def test_changes_are_made_after_the_release():
    """Changes are made in their order with the lock, and their calls without it."""
    lock, log = DeferringLock(), []

    def change(name):
        log.append((name, lock.is_interrupted()))
        return lambda: log.append((f"after {name}", lock.is_interrupted()))

    with lock.lock:
        lock.defer(lambda: change("one"))
        with lock.lock:
            lock.defer(lambda: change("two"))
        lock.run_deferred()
        assert [] == log
    lock.run_deferred()
    lock.run_deferred()

    assert [
        ("one", True), ("two", True), ("after one", False), ("after two", False),
    ] == log  # fmt: skip


def test_interrupted_is_the_thread_that_holds_the_lock():
    """Only the holder's thread is interrupted, and another thread waits."""
    lock, in_thread = DeferringLock(), []

    def run():
        in_thread.append(lock.is_interrupted())
        with lock.lock:
            in_thread.append("lock")

    with lock.lock:
        thread = threading.Thread(target=run)
        thread.start()
        thread.join(0.05)

        assert (True, [False]) == (lock.is_interrupted(), in_thread)
    thread.join()
    assert [False, "lock"] == in_thread
    assert not lock.is_interrupted()


def test_change_that_defers():
    """A change, and a call after it, can defer another change."""
    lock, log = DeferringLock(), []

    def first():
        lock.defer(lambda: log.append("second"))
        log.append("first")
        return lambda: lock.defer(lambda: log.append("third"))

    lock.defer(first)
    lock.run_deferred()

    assert ["first", "second", "third"] == log


def test_error_of_a_change(caplog):
    """An error is logged, and does not reach the code that was interrupted."""
    lock, log = DeferringLock(), []

    def fail():
        raise KeyError("no such topic")

    lock.defer(fail)
    lock.defer(lambda: log.append("next"))
    lock.run_deferred()

    assert ["next"] == log
    assert "no such topic" in caplog.text


def test_reset():
    """A lock that another thread holds is free after a reset."""
    lock, held, done = DeferringLock(), threading.Event(), threading.Event()

    def hold():
        with lock.lock:
            lock.defer(lambda: done.set())
            held.set()
            done.wait(10)

    thread = threading.Thread(target=hold)
    thread.start()
    held.wait(10)
    lock.reset()
    with lock.lock:
        assert lock.is_interrupted()
    lock.run_deferred()
    assert not done.is_set()
    done.set()
    thread.join()
