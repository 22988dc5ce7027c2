"""Examples of calls and events, read from `examples/*.json`.

The calls are one session, in order. A test makes them against the running service and
compares each response. Epochs, item ids and tickets differ from run to run; the test
replaces them by the example's values.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal, final

from msgspec import Struct

from ..data import read_data
from ..problems import PROBLEM_TYPES, Problem

START = 1_763_690_000.0
"""Time of the session, in seconds since 1970."""


@final
class Example(Struct, kw_only=True, forbid_unknown_fields=True):
    """A call of the operation with that id, and its whole *response*.

    Of an NDJSON operation, *body* and *response* are a list with an entry per line.
    """

    operation: str
    name: str
    summary: str
    caller: Literal["producer", "user"] | None = None
    path: Mapping[str, str] = {}
    query: Mapping[str, str] = {}
    headers: Mapping[str, str] = {}
    body: Any = None
    status: int = 200
    response: Any = None
    response_headers: Mapping[str, str] = {}


@final
class EventExamples(Struct, forbid_unknown_fields=True):
    """The *data* of each event, and the events of a stream by its level."""

    data: Mapping[str, Any]
    streams: Mapping[str, tuple[str, ...]]


PROBLEM_EXAMPLES: Mapping[str, Problem] = {
    name: Problem(
        name,
        each.example.detail,
        errors=each.example.errors,
        headers=each.example.headers,
    )
    for name, each in PROBLEM_TYPES.items()
}
"""An example of every problem, by its name."""

CALL_EXAMPLES = read_data("openapi/examples/calls.json", list[Example])
EVENT_EXAMPLES = read_data("openapi/examples/events.json", EventExamples)
