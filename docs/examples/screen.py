"""The part of the examples that knows no framework: a page, and a job that it shows."""

from pathlib import Path
from time import sleep

from roundel import Event
from roundel_adapters.topics import Topics

PAGE = Path(__file__).with_name("screen.html")

numbers = {"badge": 0, "job": 0}


def run_job(topics: Topics) -> None:
    """Work for a second, and publish each step. Any thread can call it."""
    for percent in range(10, 101, 10):
        sleep(0.1)
        topics.publish("log", Event(f"{percent} % done", "log"))
        _show(topics, "job", percent)
    _show(topics, "badge", numbers["badge"] + 1)


def _show(topics: Topics, name: str, number: int) -> None:
    numbers[name] = number
    topics.publish(name, Event(str(number), name))
