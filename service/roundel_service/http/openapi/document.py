"""Assembles the OpenAPI document from its parts."""

from __future__ import annotations

from functools import cache

import msgspec

from ..problems import PROBLEM_TYPES
from .components import INFO, Json, any_of, component_schemas, parameters, ref
from .examples import PROBLEM_EXAMPLES
from .operations import NDJSON, OPERATIONS, Operation
from .responses import content_object, examples_of, responses_of

_OPENAPI: Json = {
    "description": "An OpenAPI document.",
    "type": "object",
    "required": ["openapi", "info", "paths", "components"],
    "properties": {
        "openapi": {"type": "string"},
        "info": {"type": "object"},
        "paths": {"type": "object"},
        "components": {"type": "object"},
    },
}


@cache
def document() -> Json:
    """Return the OpenAPI 3.1 document of every operation; do not mutate it."""
    paths: dict[str, Json] = {}
    for operation in OPERATIONS:
        path_item = paths.setdefault(operation.path, {})
        path_item[operation.method.lower()] = _operation(operation)
        if operation.is_operator_only:
            path_item["servers"] = INFO["operator_servers"]
    return {
        "openapi": "3.1.0",
        "info": INFO["info"],
        "servers": INFO["servers"],
        "tags": INFO["tags"],
        "paths": paths,
        "components": {
            "schemas": {**component_schemas(), "OpenApi": _OPENAPI},
            "parameters": INFO["request_headers"],
            "headers": INFO["headers"],
            "securitySchemes": INFO["security_schemes"],
            "examples": {
                name: {
                    "summary": problem.title,
                    "description": PROBLEM_TYPES[name].when,
                    "value": msgspec.to_builtins(problem.document()),
                }
                for name, problem in PROBLEM_EXAMPLES.items()
            },
        },
    }


def _operation(operation: Operation) -> Json:
    found = {
        "operationId": operation.id,
        "tags": [operation.tag],
        "summary": operation.summary,
        "description": operation.description,
        "security": [{scheme: []} for scheme in operation.security],
        "parameters": _parameters(operation),
        "responses": responses_of(operation),
    }
    if operation.body:
        found["requestBody"] = _request_body(operation)
    return found


def _parameters(operation: Operation) -> list[Json]:
    found = []
    if operation.path_type:
        found += parameters(operation.path_type, "path")
    if operation.query_type:
        # The ticket is among the security schemes.
        query = parameters(operation.query_type, "query")
        found += [each for each in query if each["name"] != "ticket"]
    first = next(iter(examples_of(operation)), None)
    examples = {**first.query, **first.path} if first is not None else {}
    for each in found:
        if each["name"] in examples:
            is_integer = each["schema"].get("type") == "integer"
            example = examples[each["name"]]
            each["example"] = int(example) if is_integer else example
    headers = list(operation.headers)
    if not operation.is_operator_only:
        headers.append("requestId")
    return found + [{"$ref": f"#/components/parameters/{name}"} for name in headers]


def _request_body(operation: Operation) -> Json:
    names = operation.body
    schema = ref(names[0]) if len(names) == 1 else any_of(*names)
    examples = [(example, example.body) for example in examples_of(operation)]
    return {
        # An empty batch is valid.
        "required": operation.body_type != NDJSON,
        "content": content_object(operation.body_type, schema, examples),
    }
