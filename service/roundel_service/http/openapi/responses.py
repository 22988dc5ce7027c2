"""Response objects: bodies, streams and problems of an operation."""

from __future__ import annotations

import json
from collections.abc import Iterable
from itertools import groupby
from operator import attrgetter
from typing import Any

from roundel import Event, encode

from ..problems import Problem
from ..responses import PROBLEM_MEDIA_TYPE
from .components import INFO, Json, any_of, ref
from .events import STREAM_EVENTS
from .examples import CALL_EXAMPLES, EVENT_EXAMPLES, PROBLEM_EXAMPLES, Example
from .operations import EVENT_STREAM, NDJSON, TEXT, Operation, SuccessResponse

_status = attrgetter("status")
# Inline: no tool but the page of this service reads the schema of a line.
_BATCH_LINE = any_of("NotifyResponse", "Problem")


def examples_of(operation: Operation) -> list[Example]:
    """Return the examples of *operation*, in the order of the session."""
    return [example for example in CALL_EXAMPLES if example.operation == operation.id]


def content_object(
    content_type: str, schema: Json, examples: Iterable[tuple[Example, Any]]
) -> Json:
    """Return the content of a body, with the value of each example.

    Of NDJSON, *schema* describes a line, and a value is a list of lines.
    """
    content: Json = {"schema": schema}
    if content_type == NDJSON:
        # OpenAPI 3.1 has no keyword for the schema of a line.
        content = {"schema": {"type": "string"}, "x-line": schema}
    if found := {
        example.name: {
            "summary": example.summary,
            "value": _ndjson(value) if content_type == NDJSON else value,
        }
        for example, value in examples
    }:
        content["examples"] = found
    return {content_type: content}


def _ndjson(documents: list[Any]) -> str:
    return "".join(f"{_json(document)}\n" for document in documents)


def _json(document: object) -> str:
    return json.dumps(document, ensure_ascii=False, separators=(",", ":"))


def responses_of(operation: Operation) -> Json:
    """Return the response objects of *operation* by status.

    Raises `ValueError` if a status is both a success and a problem.
    """
    found = {
        str(response.status): _success_response(operation, response)
        for response in operation.responses
    }
    problems = [PROBLEM_EXAMPLES[name] for name in operation.problems]
    for status, group in groupby(sorted(problems, key=_status), key=_status):
        if str(status) in found:
            raise ValueError(f"{operation.id}: status {status} has two meanings")
        found[str(status)] = _problem_response(status, list(group))
    return dict(sorted(found.items()))


def _success_response(operation: Operation, success: SuccessResponse) -> Json:
    names = list(success.headers)
    if not operation.is_operator_only:
        names.append("X-Request-Id")
    response: Json = {"description": success.description, "headers": _headers(names)}
    if success.content_type == EVENT_STREAM:
        response["headers"] |= INFO["stream_headers"]
        response["content"] = {EVENT_STREAM: _stream_content()}
    elif success.content_type == TEXT:
        response["content"] = {TEXT: {"schema": {"type": "string"}}}
    elif success.schema is not None:
        examples = [
            (example, example.response)
            for example in examples_of(operation)
            if example.status == success.status
        ]
        schema = _BATCH_LINE if success.schema == "BatchLine" else ref(success.schema)
        response["content"] = content_object(success.content_type, schema, examples)
    return {name: part for name, part in response.items() if part}


def _stream_content() -> Json:
    return {
        # The schema of each event, as `itemSchema` of OpenAPI 3.2: tools for 3.1
        # read it so.
        "schema": {"oneOf": [event.event_schema() for event in STREAM_EVENTS]},
        "x-events": [
            {
                "event": event.name,
                "id": event.has_id,
                "when": event.when,
                "data": event.data_schema(),
                "example": EVENT_EXAMPLES.data[event.name],
            }
            for event in STREAM_EVENTS
        ],
        # Texts, which are no examples of an event's schema.
        "x-examples": {
            level: {"summary": f"Level `{level}`", "value": _encode_stream(names)}
            for level, names in EVENT_EXAMPLES.streams.items()
        },
    }


def _encode_stream(names: tuple[str, ...]) -> str:
    has_id = {event.name: event.has_id for event in STREAM_EVENTS}
    blocks = []
    for name in names:
        data = EVENT_EXAMPLES.data[name]
        cursor = f"{data['epoch']}.{data['v']}" if has_id[name] else None
        blocks.append(encode(Event(_json(data), name, cursor)))
    return b"".join(blocks).decode()


def _problem_response(status: int, problems: list[Problem]) -> Json:
    names = {"X-Request-Id"}.union(*(problem.headers for problem in problems))
    types = [problem.document().type for problem in problems]
    schema = {
        **ref("Problem"),
        "properties": {"type": {"enum": types}, "status": {"const": int(status)}},
    }
    examples = {
        problem.name: {"$ref": f"#/components/examples/{problem.name}"}
        for problem in problems
    }
    return {
        "description": "; ".join(problem.title for problem in problems) + ".",
        "headers": _headers(sorted(names)),
        "content": {PROBLEM_MEDIA_TYPE: {"schema": schema, "examples": examples}},
    }


def _headers(names: Iterable[str]) -> Json:
    return {name: {"$ref": f"#/components/headers/{name}"} for name in names}
