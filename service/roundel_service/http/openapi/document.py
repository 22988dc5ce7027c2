"""The OpenAPI document, put together from what is said of each call."""

from __future__ import annotations

from functools import cache
from typing import Any, TypeAlias

import msgspec

from .components import any_of, component_schemas, parameters, ref
from .info import (
    HEADERS,
    INFO,
    OPERATOR_SERVERS,
    REQUEST_HEADERS,
    SECURITY_SCHEMES,
    SERVERS,
    TAGS,
)
from .operations import NDJSON, OPERATIONS, Operation
from .problems import PROBLEM_EXAMPLES
from .responses import examples, lines, media, responses

Json: TypeAlias = dict[str, Any]


@cache
def document() -> Json:
    """Return the OpenAPI 3.1 document of every call; it is not to be changed."""
    paths: dict[str, Json] = {}
    for call in OPERATIONS:
        item = paths.setdefault(call.path, {})
        item[call.method.lower()] = _operation(call)
        if call.is_operators:
            item["servers"] = OPERATOR_SERVERS
    return {
        "openapi": "3.1.0",
        "info": INFO,
        "servers": SERVERS,
        "tags": TAGS,
        "paths": paths,
        "components": {
            "schemas": {**component_schemas(), **_made_schemas()},
            "parameters": REQUEST_HEADERS,
            "headers": HEADERS,
            "securitySchemes": SECURITY_SCHEMES,
            "examples": {name: _failure(name) for name in PROBLEM_EXAMPLES},
        },
    }


def _made_schemas() -> Json:
    return {
        "BatchLine": {
            "description": "One line of a batch's answer.",
            **any_of("NotifyResponse", "Problem"),
        },
        "OpenApi": {
            "description": "An OpenAPI document.",
            "type": "object",
            "required": ["openapi", "info", "paths", "components"],
        },
    }


def _failure(name: str) -> Json:
    failure = PROBLEM_EXAMPLES[name]
    return {
        "summary": failure.problem.title,
        "description": failure.when,
        "value": msgspec.to_builtins(failure.problem.document()),
    }


def _operation(call: Operation) -> Json:
    operation = {
        "operationId": call.id,
        "tags": [call.tag],
        "summary": call.summary,
        "description": call.description,
        "security": [{proof: []} for proof in call.proofs],
        "parameters": _parameters(call),
        "responses": responses(call),
    }
    if call.body:
        # A batch of no lines is one too.
        is_needed = call.body_type != NDJSON
        operation["requestBody"] = {"required": is_needed, "content": _body(call)}
    return operation


def _parameters(call: Operation) -> list[Json]:
    found = []
    if call.parts is not None:
        found += parameters(call.parts, "path")
    if call.query is not None:
        # The ticket is a proof: it is told among those.
        query = parameters(call.query, "query")
        found += [each for each in query if each["name"] != "ticket"]
    given = {**_given(call, "query"), **_given(call, "parts")}
    for each in found:
        if each["name"] in given:
            each["example"] = _as_parameter(each["schema"], given[each["name"]])
    headers = (*call.headers, *(() if call.is_operators else ("requestId",)))
    return found + [{"$ref": f"#/components/parameters/{name}"} for name in headers]


def _given(call: Operation, kind: str) -> dict[str, str]:
    first = next(iter(examples(call)), None)
    return dict(getattr(first, kind, {}))


def _as_parameter(schema: Json, text: str) -> str | int:
    return int(text) if schema.get("type") == "integer" else text


def _body(call: Operation) -> Json:
    is_lines = call.body_type == NDJSON
    found = {
        example.name: {
            "summary": example.summary,
            "value": lines(example.body) if is_lines else example.body,
        }
        for example in examples(call)
    }
    schema = ref(call.body[0]) if len(call.body) == 1 else any_of(*call.body)
    return {call.body_type: {**media(call.body_type, schema), "examples": found}}
