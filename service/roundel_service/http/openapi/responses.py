"""Response objects: bodies, streams and problems of an operation."""

from __future__ import annotations

import json
from collections.abc import Iterable
from itertools import groupby
from operator import attrgetter
from typing import Any

from roundel import Event, encode

from ..problems import MEDIA_TYPE, Problem
from .components import INFO, Json, ref
from .events import STREAM_EVENTS
from .examples import CALL_EXAMPLES, EVENT_EXAMPLES, PROBLEM_EXAMPLES, Example
from .operations import EVENT_STREAM, NDJSON, TEXT, Operation, SuccessResponse

_status = attrgetter("status")


def examples_of(operation: Operation) -> list[Example]:
    """Return the examples of *operation*, in the order of the session."""
    return [example for example in CALL_EXAMPLES if example.operation == operation.id]


def encode_ndjson(documents: list[Any]) -> str:
    """Return *documents* as NDJSON."""
    return "".join(f"{_json(document)}\n" for document in documents)


def _json(document: object) -> str:
    return json.dumps(document, ensure_ascii=False, separators=(",", ":"))


def media_type_object(content_type: str, schema: Json) -> Json:
    """Return the media type object of a body; of NDJSON, *schema* describes a line."""
    if content_type == NDJSON:
        # OpenAPI 3.1 has no keyword for the schema of a line.
        return {"schema": {"type": "string"}, "x-line": schema}
    return {"schema": schema}


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
        response["content"] = {success.content_type: _content(operation, success)}
    return {name: part for name, part in response.items() if part}


def _content(operation: Operation, success: SuccessResponse) -> Json:
    assert success.schema is not None
    is_ndjson = success.content_type == NDJSON
    found = {
        example.name: {
            "summary": example.summary,
            "value": encode_ndjson(example.response) if is_ndjson else example.response,
        }
        for example in examples_of(operation)
        if example.status == success.status
    }
    content = media_type_object(success.content_type, ref(success.schema))
    return {**content, "examples": found} if found else content


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
        "examples": {
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
        "content": {MEDIA_TYPE: {"schema": schema, "examples": examples}},
    }


def _headers(names: Iterable[str]) -> Json:
    return {name: {"$ref": f"#/components/headers/{name}"} for name in names}
