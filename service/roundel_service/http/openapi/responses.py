"""What a call is answered, in the document's words: bodies, streams and problems."""

from __future__ import annotations

import json
from itertools import groupby
from operator import attrgetter
from typing import Any, TypeAlias

from roundel import Event, encode

from ..problems import MEDIA_TYPE, Problem
from .components import ref
from .events import STREAM_EVENTS
from .examples import EVENTS as TOLD
from .examples import STORY, STREAMS, Example
from .info import STREAM_HEADERS
from .operations import EVENTS, NDJSON, TEXT, Operation, SuccessResponse
from .problems import PROBLEM_EXAMPLES

Json: TypeAlias = dict[str, Any]


def examples(call: Operation) -> list[Example]:
    """Return the calls of the story that are of this kind, in their order."""
    return [example for example in STORY if example.call == call.id]


def lines(documents: list[Any]) -> str:
    """Write *documents* as NDJSON."""
    return "".join(f"{_json(document)}\n" for document in documents)


def _json(document: object) -> str:
    return json.dumps(document, ensure_ascii=False, separators=(",", ":"))


def media(content_type: str, schema: Json) -> Json:
    """Return what is said of a body of that type; of NDJSON *schema* is a line's."""
    if content_type == NDJSON:
        # No keyword of OpenAPI 3.1 says what each line is.
        return {"schema": {"type": "string"}, "x-line": schema}
    return {"schema": schema}


def responses(call: Operation) -> Json:
    """Return every answer of *call*, by its status."""
    told = {str(good.status): _good(call, good) for good in call.answers}
    failed = [PROBLEM_EXAMPLES[name].problem for name in call.problems]
    for status, some in groupby(sorted(failed, key=_status), key=_status):
        if str(status) in told:
            raise ValueError(f"{call.id}: expected {status} to mean one thing")
        told[str(status)] = _bad(status, list(some))
    return dict(sorted(told.items()))


_status = attrgetter("status")


def _good(call: Operation, good: SuccessResponse) -> Json:
    names = (*good.headers, *(() if call.is_operators else ("X-Request-Id",)))
    response: Json = {
        "description": good.description,
        "headers": {name: _header(name) for name in names},
    }
    if good.content_type == EVENTS:
        response["headers"] |= STREAM_HEADERS
        response["content"] = {EVENTS: _stream()}
    elif good.content_type == TEXT:
        response["content"] = {TEXT: {"schema": {"type": "string"}}}
    elif good.schema is not None:
        response["content"] = {good.content_type: _answer(call, good)}
    return {name: part for name, part in response.items() if part}


def _answer(call: Operation, good: SuccessResponse) -> Json:
    assert good.schema is not None
    is_lines = good.content_type == NDJSON
    found = {
        example.name: {
            "summary": example.summary,
            "value": lines(example.answer) if is_lines else example.answer,
        }
        for example in examples(call)
        if example.status == good.status
    }
    told = media(good.content_type, ref(good.schema))
    return {**told, "examples": found} if found else told


def _stream() -> Json:
    return {
        # Of each event, as in OpenAPI 3.2's `itemSchema`: tools for 3.1 read it so.
        "schema": {"oneOf": [event.frame() for event in STREAM_EVENTS]},
        "x-events": [
            {**event.row(), "example": TOLD[event.name]} for event in STREAM_EVENTS
        ],
        "examples": {
            level: {"summary": f"Level `{level}`", "value": _frames(names)}
            for level, names in STREAMS.items()
        },
    }


def _frames(names: tuple[str, ...]) -> str:
    has_id = {event.name: event.has_id for event in STREAM_EVENTS}
    frames = []
    for name in names:
        data = TOLD[name]
        cursor = f"{data['epoch']}.{data['v']}" if has_id[name] else None
        frames.append(encode(Event(_json(data), name, cursor)))
    return b"".join(frames).decode()


def _bad(status: int, some: list[Problem]) -> Json:
    names = {"X-Request-Id"}.union(*(each.headers for each in some))
    return {
        "description": "; ".join(each.title for each in some) + ".",
        "headers": {name: _header(name) for name in sorted(names)},
        "content": {
            MEDIA_TYPE: {
                "schema": {
                    **ref("Problem"),
                    "properties": {
                        "type": {"enum": [each.document().type for each in some]},
                        "status": {"const": int(status)},
                    },
                },
                "examples": {
                    each.name: {"$ref": f"#/components/examples/{each.name}"}
                    for each in some
                },
            }
        },
    }


def _header(name: str) -> Json:
    return {"$ref": f"#/components/headers/{name}"}
