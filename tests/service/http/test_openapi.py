"""The OpenAPI document matches the running service."""

from __future__ import annotations

import ast
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import attrs
import msgspec
import pytest
import trio
from jsonschema import Draft202012Validator
from openapi_spec_validator import validate

import roundel_service
from roundel import Parser
from roundel_adapters.testing import AsgiClient
from roundel_service.http import problems, schemas
from roundel_service.http.decoding import MAX_BODY
from roundel_service.http.handlers.web import web_routes
from roundel_service.http.messages import BODY_TIMEOUT
from roundel_service.http.openapi import pages
from roundel_service.http.openapi.document import document
from roundel_service.http.openapi.events import STREAM_EVENTS
from roundel_service.http.openapi.examples import (
    CALL_EXAMPLES,
    EVENT_EXAMPLES,
    PROBLEM_EXAMPLES,
    START,
    Example,
)
from roundel_service.http.openapi.operations import NDJSON, OPERATIONS, Operation
from roundel_service.http.routes import create_routes
from roundel_service.operator.app import operator_routes
from support import service as conftest
from support.service import RunningService, body, data, post

NOTE = {"to": {"user": "alice"}, "title": "Hello"}
EVENT_STREAM = "text/event-stream"
PROBLEM = "application/problem+json"
BY_ID = {call.id: call for call in OPERATIONS}


def operation(call: Operation) -> dict[str, Any]:
    return document()["paths"][call.path][call.method.lower()]


def check(schema: dict[str, Any], instance: object) -> None:
    """Validate *instance* by a *schema* of the document."""
    whole = {**schema, "components": document()["components"]}
    Draft202012Validator(whole).validate(instance)


def is_valid(schema: str, instance: object) -> bool:
    try:
        check({"$ref": f"#/components/schemas/{schema}"}, instance)
    except Exception:
        return False
    return True


# The document


def test_document_is_valid():
    """The document is valid OpenAPI 3.1."""
    validate(document())

    assert document()["openapi"] == "3.1.0"


async def test_document_has_each_route_and_no_other(autojump_clock, world):
    """The paths of the document are the routes of the service."""
    service = world.service
    routes = create_routes(service.hub, None)
    files = {*pages(), *web_routes()}
    routed = {(r.method, r.path) for r in routes if r.path not in files}
    routed |= {
        (r.method, r.path) for r in operator_routes(metrics=None, readiness=None)
    }
    routed.add(("GET", "/openapi.json"))
    documented = {
        (method.upper(), path)
        for path, item in document()["paths"].items()
        for method in item
        if method != "servers"
    }

    assert routed == documented


def names_in_code() -> set[str]:
    """Return the name of every `Problem` that the package creates."""
    folder = Path(roundel_service.__file__).parent
    trees = [ast.parse(path.read_text()) for path in folder.rglob("*.py")]
    return {
        node.args[0].value
        for tree in trees
        for node in ast.walk(tree)
        if isinstance(node, ast.Call)
        and ast.unparse(node.func) == "Problem"
        and isinstance(node.args[0], ast.Constant)
    }


def test_every_problem_has_an_example_and_an_operation():
    """Each problem of the code has an example, and an operation that returns it."""
    of_calls = {
        name
        for item in document()["paths"].values()
        for call in item.values()
        if isinstance(call, dict)
        for answer in call["responses"].values()
        for name in answer.get("content", {}).get(PROBLEM, {}).get("examples", ())
    }
    of_framework = {"not-found"}

    assert names_in_code() | of_framework == PROBLEM_EXAMPLES.keys()
    assert of_calls | of_framework == PROBLEM_EXAMPLES.keys()


def test_every_parameter_is_listed():
    """The fields of the request types are the parameters, except the ticket."""
    for call in OPERATIONS:
        types = [getattr(schemas, n) for n in (call.path_type, call.query_type) if n]
        fields = {f.name for each in types for f in msgspec.structs.fields(each)}
        listed = {
            each["name"] for each in operation(call)["parameters"] if "name" in each
        }

        assert fields - {"ticket"} == listed


def test_references_resolve():
    """Every reference resolves, and every component is used."""
    text = json.dumps(document())
    named = {
        f"#/components/{kind}/{name}"
        for kind, parts in document()["components"].items()
        for name in parts
        if kind in ("schemas", "parameters", "headers", "examples")
    }
    used = set(_references(document()))

    assert "\\n    " not in text
    assert named == used


def _references(part: object) -> Iterator[str]:
    if isinstance(part, dict):
        if "$ref" in part:
            yield part["$ref"]
        part = list(part.values())
    if isinstance(part, list):
        for each in part:
            yield from _references(each)


# Examples


def media_with_examples() -> Iterator[tuple[str, dict[str, Any]]]:
    for call in OPERATIONS:
        described = operation(call)
        bodies = [described.get("requestBody", {}), *described["responses"].values()]
        for each in bodies:
            for content_type, media in each.get("content", {}).items():
                # The schema of a stream is that of an event, which has its own test.
                if content_type != EVENT_STREAM:
                    yield content_type, media


def test_every_example_of_a_body_is_valid():
    """Each example is valid by the schema of its body."""
    count = 0
    for content_type, media in media_with_examples():
        for example in media.get("examples", {}).values():
            if "$ref" in example:
                name = example["$ref"].rpartition("/")[2]
                example = document()["components"]["examples"][name]
            check(media["schema"], example["value"])
            if content_type == NDJSON and "results" not in example["value"]:
                continue
            if content_type == NDJSON:
                for line in example["value"].splitlines():
                    check(media["x-line"], json.loads(line))
            count += 1

    assert count > 100


def test_every_other_example_is_valid():
    """The examples of parameters, headers and events are valid."""
    components = document()["components"]
    parts = [*components["parameters"].values(), *components["headers"].values()]
    for call in OPERATIONS:
        parts += [each for each in operation(call)["parameters"] if "name" in each]
    for part in parts:
        if "example" in part:
            check(part["schema"], part["example"])
    for event in STREAM_EVENTS:
        check(event.data_schema(), EVENT_EXAMPLES.data[event.name])

    assert EVENT_EXAMPLES.data.keys() == {event.name for event in STREAM_EVENTS}


# Linters and code generators


def _objects(part: object) -> Iterator[dict[str, Any]]:
    if isinstance(part, dict):
        yield part
        part = list(part.values())
    if isinstance(part, list):
        for each in part:
            yield from _objects(each)


@pytest.mark.parametrize(
    "name", sorted({name for call in OPERATIONS for name in call.body})
)
def test_optional_field_of_a_request_has_no_default(name):
    """openapi-typescript makes a field with a default a required one."""
    schema = document()["components"]["schemas"][name]
    with_default = [
        field
        for field, each in schema["properties"].items()
        if field not in schema.get("required", ()) and "default" in each
    ]

    assert [] == with_default


def test_conditional_schemas_name_the_property_of_their_condition():
    """Redocly checks examples by each schema alone, without unnamed properties."""
    conditions = [
        (name, each["properties"].keys())
        for schema in document()["components"]["schemas"].values()
        for name, each in schema.get("dependentSchemas", {}).items()
        if "properties" in each
    ]

    assert conditions
    assert all(name in properties for name, properties in conditions)


def test_required_properties_are_defined():
    """Redocly asks for each required property beside the list of them."""
    undefined = [
        (names, sorted(properties))
        for each in _objects([document()["components"], document()["paths"]])
        if isinstance(names := each.get("required"), list)
        and (properties := each.get("properties", {})) is not None
        and not set(names) <= set(properties)
        and "$ref" not in each
    ]

    # The alternatives of a type with properties.
    assert all(len(names) == 1 and not known for names, known in undefined)
    alternatives = {names[0] for names, _ in undefined}
    selections = {"source", "key", "category", "id"}
    recipients = {"user", "users", "topic", "all", "add", "remove"}
    assert alternatives <= {*recipients, *schemas.VERBS, *selections}


def test_examples_of_all_media_match_their_schemas():
    """Spectral checks each example, also of an event stream."""
    media = operation(BY_ID["stream"])["responses"]["200"]["content"][EVENT_STREAM]

    assert "examples" not in media
    assert {"badge", "items"} == media["x-examples"].keys()


def test_every_operation_has_a_client_error():
    """Redocly asks for a 4xx of each operation, and Spectral for a contact."""
    calls = [operation(call)["responses"] for call in OPERATIONS]

    assert all(any(status[0] == "4" for status in call) for call in calls)
    assert document()["info"]["contact"]["name"]


# Examples against the service


@attrs.frozen
class ExampleClient:
    """Makes the calls of examples and maps random values to their values."""

    world: RunningService
    names: dict[str, str] = attrs.field(factory=dict)

    async def ask(self, example: Example) -> tuple[int, dict[str, str], str]:
        call = BY_ID[example.operation]
        path = call.path.format(**example.path)
        target = f"{path}?{urlencode(example.query)}" if example.query else path
        lines = example.body if call.body_type == NDJSON else [example.body]
        content = "\n".join(map(json.dumps, lines)) if example.body is not None else ""
        answer = await self._client(example, call).request(
            call.method,
            target,
            headers={n: self._real(v) for n, v in example.headers.items()},
            body=self._real(content).encode(),
        )
        text = answer.body.decode()
        if text:
            self._learn(example.response, _parsed(call, text))
        return answer.status, dict(answer.headers), self.with_example_values(text)

    def _client(self, example: Example, call: Operation) -> AsgiClient:
        if call.is_operator_only:
            return AsgiClient(self.world.service.operator_app)
        clients = {"producer": self.world.producer, "user": self.world.user()}
        return clients.get(example.caller, self.world.anonymous)

    def _learn(self, expected: object, actual: object) -> None:
        """Map the random values of a response to those of the example."""
        match expected, actual:
            case dict(), dict():
                for name in expected.keys() & actual.keys():
                    if name in ("epoch", "item", "ticket"):
                        self.names[actual[name]] = expected[name]
                    self._learn(expected[name], actual[name])
            case list(), list():
                for one, other in zip(expected, actual, strict=False):
                    self._learn(one, other)

    def with_example_values(self, text: str) -> str:
        for actual, name in self.names.items():
            text = text.replace(actual, name)
        return text

    def _real(self, text: str) -> str:
        for actual, name in self.names.items():
            text = text.replace(name, actual)
        return text


def _parsed(call: Operation, text: str) -> Any:
    if call.body_type == NDJSON:
        return [json.loads(line) for line in text.splitlines()]
    return json.loads(text)


async def test_examples_are_what_the_service_returns(autojump_clock, world):
    """Each example is the service's response, and is valid by its schema."""
    assert START == conftest.START
    client = ExampleClient(world)
    for example in CALL_EXAMPLES:
        call = BY_ID[example.operation]
        status, headers, text = await client.ask(example)
        answer = _parsed(call, text) if text else None

        assert (example.operation, example.status) == (example.operation, status)
        assert example.response == answer
        response = operation(call)["responses"][str(status)]
        check_headers(response, headers)
        for name, value in example.response_headers.items():
            assert value == client.with_example_values(headers[name.lower()])
        for media in response.get("content", {}).values():
            for each in answer if "x-line" in media else [answer]:
                check(media.get("x-line", media["schema"]), each)


def check_headers(response: dict[str, Any], headers: dict[str, str]) -> None:
    """Validate the header fields of a response."""
    for name, header in response.get("headers", {}).items():
        if "$ref" in header:
            header = document()["components"]["headers"][name]
        value: str | int = headers[name.lower()]
        check(header["schema"], int(value) if name == "Retry-After" else value)
    content_type = headers.get("content-type", "").partition(";")[0]

    assert (content_type or None) in (*response.get("content", ()), None)
    assert bool(content_type) == ("content" in response)


def test_every_operation_has_an_example():
    """All operations but the stream, metrics and the document have an example."""
    called = {example.operation for example in CALL_EXAMPLES}

    assert BY_ID.keys() - called == {"stream", "metrics", "openapi"}


async def test_stream_examples_are_what_the_service_sends(autojump_clock, world):
    """The events and ids of a stream are those of the examples."""
    client = ExampleClient(world)
    operate = next(
        n for n, example in enumerate(CALL_EXAMPLES) if example.operation == "ops"
    )
    for example in CALL_EXAMPLES[:operate]:
        await client.ask(example)
    alice = world.user(ttl=3_600)
    response = operation(BY_ID["stream"])["responses"]["200"]
    media = response["content"][EVENT_STREAM]
    for level, example in media["x-examples"].items():
        expected = Parser().receive_data(example["value"].encode())
        async with alice.stream(f"/v1/stream?level={level}") as stream:
            check_headers(response, dict(stream.headers))
            actual = [await stream.next_event() for _ in expected[:2]]
            if level == "items":
                await client.ask(CALL_EXAMPLES[operate])
                actual.append(await stream.next_event())

        for event in actual:
            frame = {"event": event.type, "data": event.data, "id": event.id}
            check(media["schema"], {n: v for n, v in frame.items() if v is not None})
        received = [
            (
                event.type,
                with_example_value(
                    event.type, json.loads(client.with_example_values(event.data))
                ),
            )
            for event in actual
        ]
        assert [(event.type, json.loads(event.data)) for event in expected] == received
        last_id = [event.id for event in expected][-1]
        assert last_id == client.with_example_values(stream.last_event_id)


def with_example_value(kind: str, event: dict[str, Any]) -> dict[str, Any]:
    """Return the data of an event with the example's value for a random one."""
    drawn = {"hello": "max_age", "bye": "retry"}.get(kind)
    return {**event, drawn: EVENT_EXAMPLES.data[kind][drawn]} if drawn else event


async def test_every_event_fits_its_schema(autojump_clock, world):
    """All events of long streams are valid by their schemas."""
    schemas_by_name = {event.name: event.data_schema() for event in STREAM_EVENTS}
    seen = set()
    await world.notify(key="one", title="Before")

    def receive(event: Any) -> dict[str, Any]:
        seen.add(event.type)
        received = data(event)
        check(schemas_by_name[event.type], received)
        return with_example_value(event.type, received)

    async with world.user(ttl=120).stream("/v1/stream?level=items") as stream:
        await world.notify(key="one", ttl=30)
        await world.do(seen_upto=9)
        await trio.sleep(40)
        await world.producer.request("DELETE", "/v1/users/alice")
        received = {}
        while event := await stream.next_event():
            received[event.type] = receive(event)
    async with world.user().stream("/v1/stream") as stream:
        receive(await stream.next_event())
        receive(await stream.next_event())
        world.service.hub.drain()
        bye = receive(await stream.next_event())

    assert schemas_by_name.keys() == seen
    received["bye"] = bye
    for name in ("auth", "reset", "bye"):
        assert EVENT_EXAMPLES.data[name] == received[name]


async def test_responses_without_an_example(autojump_clock, world):
    """They have the content type and the headers of the document."""
    client = AsgiClient(world.service.operator_app)
    metrics = await client.request("GET", "/metrics")
    world.service.hub.drain()
    not_ready = await client.request("GET", "/readyz")

    assert metrics.status == 200
    check_headers(operation(BY_ID["metrics"])["responses"]["200"], metrics.headers)
    check({"$ref": "#/components/schemas/NotReadyResponse"}, body(not_ready, 503))


WITH_CREDENTIALS = [example for example in CALL_EXAMPLES if example.caller]


@pytest.mark.parametrize(
    "example", WITH_CREDENTIALS, ids=lambda e: f"{e.operation}-{e.name}"
)
async def test_call_without_credentials_is_401(autojump_clock, world, example):
    """Each operation with credentials lists the 401."""
    call = BY_ID[example.operation]
    answer = await world.anonymous.request(
        call.method, call.path.format(**example.path)
    )
    response = operation(call)["responses"]["401"]

    check_headers(response, answer.headers)
    check(response["content"][PROBLEM]["schema"], body(answer, 401))


# Problems


async def provoke(name: str, make_world, monkeypatch, nursery) -> Any:
    """Cause the problem, and return the response."""
    rates = {"producer_rate": "1"} if name == "too-many-requests" else {}
    world: RunningService = make_world(**rates)
    producer, alice = world.producer, world.user()
    notify = "/v1/notify"
    match name:
        case "malformed-body":
            return await producer.request("POST", notify, body=b'{"to":')
        case "unauthorized":
            return await world.anonymous.request("GET", "/v1/badge")
        case "revoked":
            await trio.sleep(1)
            await post(producer, "/v1/users/alice/disconnect", {"revoke": True})
            return await alice.request("GET", "/v1/badge")
        case "forbidden":
            return await post(alice, notify, NOTE)
        case "not-found":
            return await producer.request("DELETE", "/v1/users/a/b")
        case "method-not-allowed":
            return await alice.request("PUT", "/v1/badge")
        case "not-acceptable":
            headers = {"Accept": "application/json"}
            return await alice.request("GET", "/v1/stream", headers=headers)
        case "idempotency-key-reused":
            await post(producer, notify, NOTE, **{"Idempotency-Key": "a"})
            other = {**NOTE, "title": "Other"}
            return await post(producer, notify, other, **{"Idempotency-Key": "a"})
        case "key-reused":
            for op in ({"read_upto": 1}, {"read_upto": 2}):
                answer = await post(alice, "/v1/ops", {"op_id": "a", "ops": [op]})
            return answer
        case "unsupported-media-type":
            headers = {"Content-Encoding": "gzip"}
            return await producer.request("POST", notify, headers=headers, body=b"{}")
        case "too-large":
            return await producer.request("POST", notify, body=b" " * (MAX_BODY + 1))
        case "query-too-long":
            return await alice.request("GET", "/v1/items?category=" + "x" * 8_998)
        case "invalid-request":
            return await post(producer, notify, {**NOTE, "ttl": -1, "titel": "x"})
        case "too-many-categories":
            for number in range(64):
                await world.notify(category=f"c{number}")
            return await post(producer, notify, {**NOTE, "category": "c64"})
        case "too-many-waiting":
            for _ in range(101):
                note = {**NOTE, "at": START + 60}
                answer = await post(producer, notify, note)
            return answer
        case "too-many-topics":
            for number in range(65):
                target = f"/v1/topics/t{number}/followers"
                answer = await post(producer, target, {"add": ["alice"]})
            return answer
        case "too-many-requests":
            for _ in range(3):
                answer = await producer.request("GET", "/v1/users/alice/explain")
            return answer
        case "internal-error":
            monkeypatch.setattr(world.service.hub, "channel", None)
            return await alice.request("GET", "/v1/badge")
    raise AssertionError(f"expected to know how {name} is provoked")


ELSEWHERE = {
    "request-timeout",
    "engine-unavailable",
    "keys-unavailable",
    "mailbox-damaged",
}


@pytest.mark.parametrize("name", sorted(PROBLEM_EXAMPLES.keys() - ELSEWHERE))
async def test_problem_examples_are_what_the_service_returns(
    autojump_clock, make_world, monkeypatch, nursery, name
):
    """The example of each problem is the service's response."""
    example = document()["components"]["examples"][name]["value"]
    answer = await provoke(name, make_world, monkeypatch, nursery)
    actual = body(answer, example["status"])

    assert example == actual
    assert PROBLEM == answer.headers["content-type"]
    for header, value in PROBLEM_EXAMPLES[name].headers.items():
        # The order of the methods in `Allow` is not fixed.
        assert sorted(value.split(", ")) == sorted(
            answer.headers[header.lower()].split(", ")
        )


def test_examples_of_slow_problems():
    """These problems have tests elsewhere; their examples have the same text."""
    examples = document()["components"]["examples"]
    keys = problems.Problem("keys-unavailable")

    assert msgspec.to_builtins(keys.document()) == examples["keys-unavailable"]["value"]
    assert f"{BODY_TIMEOUT:.0f} s" in examples["request-timeout"]["value"]["detail"]


# Requests


VERDICTS = {
    "no recipient": ("NotifyRequest", {"to": {}, "title": "x"}),
    "two kinds": ("NotifyRequest", {"to": {"user": "a", "users": ["b"]}, "title": "x"}),
    "one": ("NotifyRequest", {"to": {"user": "a"}, "title": "x"}),
    "many": ("NotifyRequest", {"to": {"users": ["a", "b"]}, "title": "x"}),
    "topic": ("NotifyRequest", {"to": {"topic": "t:7"}, "title": "x", "ttl": 1}),
    "topic and user": (
        "NotifyRequest",
        {"to": {"topic": "t", "user": "a"}, "title": "x"},
    ),
    "topic with #": ("NotifyRequest", {"to": {"topic": "#t"}, "title": "x"}),
    "all": ("NotifyRequest", {"to": {"all": True}, "title": "x", "ttl": None}),
    "not all": ("NotifyRequest", {"to": {"all": False}, "title": "x"}),
    "ttl to all": ("NotifyRequest", {"to": {"all": True}, "title": "x", "ttl": 8e6}),
    "ttl to a user": ("NotifyRequest", {"to": {"user": "a"}, "title": "x", "ttl": 8e6}),
    "topic without end": (
        "UpdateRequest",
        {"to": {"topic": "t"}, "id": "i", "set": {"ttl": None}},
    ),
    "user without end": (
        "UpdateRequest",
        {"to": {"user": "a"}, "id": "i", "set": {"ttl": None}},
    ),
    "update of a topic": (
        "UpdateRequest",
        {"to": {"topic": "t"}, "id": "i", "set": {"body": "b"}},
    ),
    "followers": ("FollowersRequest", {"add": ["a"], "since": 5}),
    "no followers": ("FollowersRequest", {"add": []}),
    "nothing to follow": ("FollowersRequest", {}),
    "since": ("FollowersRequest", {"remove": ["a"], "since": "yesterday"}),
    "line end": ("TicketRequest", {"user": "a\nb"}),
    "nulls": ("NotifyRequest", {"to": {"user": "a"}, "title": "x", "ttl": None}),
    "unknown": ("NotifyRequest", {"to": {"user": "a"}, "title": "x", "x": 1}),
    "no verb": ("Op", {}),
    "two verbs": ("Op", {"read": [], "unread": []}),
    "read": ("Op", {"read": ["x"]}),
    "read_upto": ("Op", {"read_upto": 3, "category": "dm"}),
    "seen in a category": ("Op", {"seen_upto": 3, "category": "dm"}),
    "read_all": ("Op", {"read_all": True, "as_of": 3, "category": "dm"}),
    "read_all alone": ("Op", {"read_all": True}),
    "archive_all": ("Op", {"archive_all": True, "as_of": 3, "category": "dm"}),
    "archive_all alone": ("Op", {"archive_all": True}),
    "archive_upto": ("Op", {"archive_upto": 3, "category": "dm"}),
    "remove": ("Op", {"remove": ["x"]}),
    "remove of a category": ("Op", {"remove": ["x"], "category": "dm"}),
    "as_of alone": ("Op", {"read": [], "as_of": 3}),
    "not read_all": ("Op", {"read_all": False, "as_of": 3}),
    "gauge": ("GaugeRequest", {"count": 1, "source_version": 2}),
    "gauge below 0": ("GaugeRequest", {"count": -1, "source_version": 2}),
    "session": ("TicketRequest", {"user": "a", "session": 0}),
    "nothing": ("NoFields", {}),
    "something": ("NoFields", {"a": 1}),
}


@pytest.mark.parametrize(("schema", "given"), VERDICTS.values(), ids=VERDICTS)
def test_schema_and_service_accept_the_same(schema, given):
    """The schema accepts exactly the requests that the service accepts."""
    try:
        msgspec.convert(given, getattr(schemas, schema))
        is_read = True
    except msgspec.ValidationError:
        is_read = False

    assert is_read == is_valid(schema, given)


# Serving


async def test_document_is_served_with_an_etag(autojump_clock, world):
    """It needs no credentials; `If-None-Match` gets a 304 without a body."""
    first = await world.anonymous.request("GET", "/openapi.json")
    tag = first.headers["etag"]
    again = await world.anonymous.request(
        "GET", "/openapi.json", headers={"If-None-Match": tag}
    )
    head = await world.anonymous.request("HEAD", "/openapi.json")

    assert document() == body(first)
    assert first.headers["content-type"] == "application/json"
    assert (304, b"", tag) == (again.status, again.body, again.headers["etag"])
    assert (200, b"", tag) == (head.status, head.body, head.headers["etag"])


@pytest.mark.parametrize("path", ["/api", "/api.css", "/api.js", "/api.svg"])
async def test_page_has_a_content_security_policy(autojump_clock, world, path):
    """The page may load nothing from other origins."""
    answer = await world.anonymous.request("GET", path)

    assert answer.status == 200
    assert answer.body
    assert answer.headers["content-security-policy"].startswith("default-src 'none'")
    assert answer.headers["x-content-type-options"] == "nosniff"
    assert b"http" not in answer.body.replace(b"http://www.w3.org/", b"")
