"""Schemas, generated from the types of requests, responses and events."""

from __future__ import annotations

import inspect
from collections.abc import Iterable, Mapping
from typing import Any, TypeAlias

import msgspec
from msgspec import Struct

from ... import documents
from ...streams import events
from .. import explanation, responses, schemas
from ..data import read_data
from ..schemas import topic_responses
from .operations import OPERATIONS

Json: TypeAlias = dict[str, Any]

_PREFIX = "#/components/schemas/"
_RESPONSE_MODULES = (documents, explanation, responses, topic_responses, events)


def ref(name: str) -> Json:
    """Return a reference to the schema of the type *name*."""
    return {"$ref": _PREFIX + component_name(name)}


def component_name(name: str) -> str:
    """Return the component's name of the type *name*: `BadgeDocument` is `Badge`."""
    return name.removesuffix("Document")


def any_of(*names: str) -> Json:
    """Return a schema of any of the types *names*."""
    return {"anyOf": [ref(name) for name in names]}


def _any_required(names: Iterable[str]) -> Json:
    # Linters expect a required property among the properties.
    return {"anyOf": [{"required": [name], "properties": {name: {}}} for name in names]}


def _only(*names: str) -> Json:
    others = {"source", "key", "category", "id"} - {*names}
    return {
        "required": list(names),
        "properties": {name: {} for name in names},
        "not": {"anyOf": [{"required": [name]} for name in sorted(others)]},
    }


def _to_topic(properties: Json) -> Json:
    """Return the rule of *properties* of a request to a topic."""
    topic = {"to": _any_required(["topic", "all"])}
    return {
        "if": {"properties": topic, "required": ["to"]},
        "then": {"properties": properties},
    }


_TOPIC_TTL: Json = {"minimum": 1, "maximum": schemas.MAX_TOPIC_TTL}
_ONE_SELECTION: Json = {
    "oneOf": [_only("source"), _only("key", "category"), _only("id")]
}
_RULES: Mapping[str, Json] = {
    # The rules of `__post_init__`, which msgspec cannot put into schemas.
    "Recipients": {
        "oneOf": [{"required": [name]} for name in ("user", "users", "topic", "all")]
    },
    "NotifyRequest": {
        "allOf": [
            {
                "if": {"properties": {"quiet": {"const": True}}, "required": ["quiet"]},
                "then": {
                    "properties": {"key": {"type": "string"}, "at": {"type": "null"}},
                    "required": ["key"],
                },
            },
            # Null stands for the default.
            _to_topic({"ttl": _TOPIC_TTL}),
        ]
    },
    "UpdateRequest": {
        **_ONE_SELECTION,
        **_to_topic({"set": {"properties": {"ttl": _TOPIC_TTL | {"type": "number"}}}}),
    },
    "UpdatedFields": {"minProperties": 1},
    "FollowersRequest": {
        "anyOf": [
            {"required": [name], "properties": {name: {"minItems": 1}}}
            for name in ("add", "remove")
        ]
    },
    "DisconnectRequest": {
        "dependentSchemas": {
            "issued_before": {
                # Redocly forbids what the innermost schema does not name.
                "properties": {"revoke": {"const": True}, "issued_before": {}},
                "required": ["revoke"],
            }
        }
    },
    "Op": {
        "oneOf": [{"required": [verb]} for verb in schemas.VERBS],
        "dependentRequired": {
            **{verb: ["as_of"] for verb in schemas.VERBS_WITH_AS_OF},
            "snooze": ["until"],
            "until": ["snooze"],
        },
        "dependentSchemas": {
            "as_of": _any_required(schemas.VERBS_WITH_AS_OF),
            "category": _any_required(schemas.VERBS_WITH_CATEGORY),
        },
    },
}
_ITEMS = {
    # msgspec does not support unions of structs without tags.
    ("NotifyResponse", "results"): any_of(
        "RecipientResult", "TopicResult", "RecipientProblem"
    ),
    ("UpdateResponse", "results"): any_of(
        "UpdateResult", "TopicUpdateResult", "RecipientProblem"
    ),
    ("FollowersResponse", "results"): any_of("FollowerResult", "RecipientProblem"),
    ("ExplainedOperation", "steps"): any_of(
        "ExplainedAddStep", "ExplainedUpdateStep", "SetStep", "RemoveStep"
    ),
    ("ChangeData", "ops"): any_of("AddStep", "UpdateStep", "SetStep", "RemoveStep"),
}

INFO = read_data("openapi/info.toml", dict[str, Any])
"""Texts and common parts of the document, apart from the operations."""

_DESCRIPTIONS = read_data("openapi/descriptions.toml", dict[str, Any])


def component_schemas() -> Json:
    """Return the schema of every type, by its component name."""
    bodies = {name for operation in OPERATIONS for name in operation.body}
    types = [*_response_types(), *(getattr(schemas, name) for name in bodies)]
    _, found = msgspec.json.schema_components(types, ref_template=_PREFIX + "{name}")
    components = {component_name(name): _simplify(each) for name, each in found.items()}
    for name in bodies:
        for field in components[name]["properties"].values():
            # Code generators make a field with a default a required one.
            field.pop("default", None)
    for component in components.values():
        # A client ignores the fields of a newer service; this service has no others.
        component.setdefault("additionalProperties", False)
    for name, rules in _RULES.items():
        components[name] |= rules
    for (name, field), items in _ITEMS.items():
        components[name]["properties"][field]["items"] = items
    for name, descriptions in _DESCRIPTIONS["fields"].items():
        properties = components[name]["properties"]
        for field, description in descriptions.items():
            properties[field].setdefault("description", description)
    return dict(sorted(components.items()))


def _response_types() -> list[type[Struct]]:
    return [
        kind
        for module in _RESPONSE_MODULES
        for kind in vars(module).values()
        if inspect.isclass(kind)
        and issubclass(kind, Struct)
        and kind.__module__ == module.__name__
        and not kind.__name__.startswith("_")
    ]


def parameters(name: str, where: str) -> list[Json]:
    """Return the fields of a type as parameters *where*: in "path" or "query"."""
    _, components = msgspec.json.schema_components([getattr(schemas, name)])
    schema = components[name]
    descriptions = _DESCRIPTIONS["parameters"].get(name, {})
    return [
        {
            "name": parameter,
            "in": where,
            "description": descriptions[parameter],
            "required": parameter in schema["required"],
            "schema": _without_null(_simplify(field)),
        }
        for parameter, field in schema["properties"].items()
    ]


def _without_null(schema: Json) -> Json:
    """Remove null: a query has no null, a parameter is absent instead."""
    schema = dict(schema)
    if isinstance(schema.get("type"), list):
        schema["type"] = schema["type"][0]
    if schema.get("default") in ("", schema.get("maximum", "")):
        # These defaults are internal stand-ins for an absent parameter.
        del schema["default"]
    return schema


def _simplify(schema: Any) -> Any:  # noqa: ANN401, JSON is anything
    """Return an equivalent schema that is shorter and valid for ECMA 262 patterns."""
    match schema:
        case {"anyOf": [{"type": str(kind), **rest}, {"type": "null"}], **others}:
            return {"type": [kind, "null"], **_simplify(rest), **_simplify(others)}
        case {"$ref": str(target), **rest}:
            name = target.removeprefix(_PREFIX)
            return {**ref(name), **_simplify(rest)}
        case {"type": "object", "title": str(), "properties": dict(), **rest}:
            fields = {n: _simplify(f) for n, f in schema["properties"].items()}
            return {"type": "object", **_simplify(rest), "properties": fields}
        case dict():
            return {
                name: _simplify_part(name, part)
                for name, part in schema.items()
                if (name, part) not in [("required", []), ("default", None)]
            }
        case list():
            return [_simplify(part) for part in schema]
        case _:
            return schema


def _simplify_part(name: str, part: Any) -> Any:  # noqa: ANN401, JSON is anything
    if name == "description":
        return inspect.cleandoc(part)
    if name == "pattern":
        # ECMA 262: without the flag m, `$` does not match before a line end.
        return part.removesuffix(r"(?!\n)")
    return _simplify(part)
