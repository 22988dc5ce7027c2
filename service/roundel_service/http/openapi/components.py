"""The document's schemas, made from the types that requests are read with."""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from typing import Any, TypeAlias

import msgspec
from msgspec import Struct

from .. import schemas
from . import schemas as answers
from .descriptions import FIELDS, PARAMETERS

Json: TypeAlias = dict[str, Any]

_PREFIX = "#/components/schemas/"
_BODIES = (
    schemas.NotifyRequest,
    schemas.GaugeRequest,
    schemas.DisconnectRequest,
    schemas.TicketRequest,
    schemas.NoFields,
    schemas.OpsRequest,
)


def ref(name: str) -> Json:
    """Return a reference to the schema of that *name*."""
    return {"$ref": _PREFIX + name}


def any_of(*names: str) -> Json:
    """Return a schema that is one of those *names*."""
    return {"anyOf": [ref(name) for name in names]}


_VERBS = [
    field.name
    for field in msgspec.structs.fields(schemas.Op)
    if field.name not in ("as_of", "category")
]
_RULES: Mapping[str, Json] = {
    # What the types of requests check in `__post_init__`, which no schema can tell.
    "Recipients": {"oneOf": [{"required": ["user"]}, {"required": ["users"]}]},
    "Op": {
        "oneOf": [{"required": [verb]} for verb in _VERBS],
        "dependentRequired": {"read_all": ["as_of"], "as_of": ["read_all"]},
        "dependentSchemas": {
            "category": {
                "anyOf": [{"required": ["read_all"]}, {"required": ["read_upto"]}]
            }
        },
    },
}
_ITEMS = {
    # Unions that msgspec does not know.
    ("NotifyAnswer", "results"): any_of("Notified", "NotNotified"),
    ("ExplainedOperation", "steps"): any_of("AddedStep", "SetStep", "RemoveStep"),
    ("ChangeEvent", "ops"): any_of("AddStep", "SetStep", "RemoveStep"),
}


def component_schemas() -> Json:
    """Return every schema that the document refers to, by its name."""
    types = [*_BODIES, *_answers()]
    _, found = msgspec.json.schema_components(types, ref_template=_PREFIX + "{name}")
    told = {name: _plain(schema) for name, schema in found.items()}
    for name, rules in _RULES.items():
        told[name] |= rules
    for (name, field), items in _ITEMS.items():
        told[name]["properties"][field]["items"] = items
    for (name, field), note in FIELDS.items():
        told[name]["properties"][field].setdefault("description", note)
    return dict(sorted(told.items()))


def _answers() -> list[type[Struct]]:
    return [
        kind
        for kind in vars(answers).values()
        if inspect.isclass(kind) and issubclass(kind, Struct) and kind is not Struct
    ]


def parameters(kind: type[Struct], where: str) -> list[Json]:
    """Return the fields of *kind* as the parameters that are found *where*."""
    _, components = msgspec.json.schema_components([kind])
    told = components[kind.__name__]
    return [
        {
            "name": name,
            "in": where,
            "description": PARAMETERS[kind.__name__, name],
            "required": name in told["required"],
            "schema": _without_null(_plain(field)),
        }
        for name, field in told["properties"].items()
    ]


def _without_null(schema: Json) -> Json:
    """Leave out null, which no query can say: there it is a parameter left out."""
    told = dict(schema)
    if isinstance(told.get("type"), list):
        told["type"] = told["type"][0]
    if told.get("default") in ("", told.get("maximum", "")):
        # It is what leaving the parameter out means, in words of the inside.
        del told["default"]
    return told


def _plain(schema: Any) -> Any:  # noqa: ANN401, JSON is anything
    """Say the same in fewer words, and in patterns that ECMA's engines know too."""
    match schema:
        case {"anyOf": [{"type": str(kind), **rest}, {"type": "null"}], **others}:
            return {"type": [kind, "null"], **_plain(rest), **_plain(others)}
        case {"type": "object", "title": str(), "properties": dict(), **rest}:
            fields = {n: _plain(field) for n, field in schema["properties"].items()}
            return {"type": "object", **_plain(rest), "properties": fields}
        case dict():
            return {n: _part(n, part) for n, part in schema.items() if _says(n, part)}
        case list():
            return [_plain(part) for part in schema]
        case _:
            return schema


def _says(name: str, part: object) -> bool:
    return (name, part) not in [("required", []), ("default", None)]


def _part(name: str, part: Any) -> Any:  # noqa: ANN401, JSON is anything
    if name == "description":
        return inspect.cleandoc(part)
    if name == "pattern":
        # ECMA's `$` lets no line end through, so it needs no help there.
        return part.removesuffix(r"(?!\n)")
    return _plain(part)
