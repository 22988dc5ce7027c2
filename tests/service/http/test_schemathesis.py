"""Schemathesis sends requests that the OpenAPI document allows, and others.

Each request has a new service on virtual time: long polls and streams last until
they end, without real time.
"""

from __future__ import annotations

from http import HTTPStatus
from typing import Any

import hypothesis
import msgspec
import pytest
import requests
import schemathesis
import trio
from jsonschema import Draft202012Validator
from schemathesis import GenerationMode, checks
from schemathesis.config import SchemathesisConfig
from trio.testing import MockClock

from roundel import Parser
from roundel_adapters.testing import AsgiClient
from roundel_service import app as service
from roundel_service.http.openapi.document import document
from roundel_service.http.openapi.events import STREAM_EVENTS
from roundel_service.http.openapi.operations import EVENT_STREAM, OPERATIONS, Operation
from support.service import RunningService, settings, wall_clock

URL = "http://roundel.test"
CALL_OF = {(call.path, call.method): call for call in OPERATIONS}

CONFIG = {
    "generation": {"with-security-parameters": False},
    "operations": [
        # The rules between its parameters cannot be put into the document.
        {
            "include-operation-id": "retract",
            "checks": {"positive_data_acceptance": {"enabled": False}},
        },
        # A batch has a result for each line; an invalid line is not an error status.
        {
            "include-operation-id": "batch",
            "checks": {"negative_data_rejection": {"enabled": False}},
        },
    ],
}


@pytest.fixture(scope="module")
def described() -> Any:
    """Read the document as schemathesis does."""
    config = SchemathesisConfig.from_dict(CONFIG)
    return schemathesis.openapi.from_dict(document(), config=config)


@schemathesis.serializer("application/x-ndjson")
def _ndjson(ctx: Any, value: Any) -> bytes:
    return value if isinstance(value, bytes) else str(value).encode()


def _may_be_invalid(call: Operation) -> bool:
    """Return whether a request of *call* has a part that could be invalid."""
    has_query = call.query_type not in (None, "NoQuery")
    return bool(call.path_type or has_query or call.body or call.headers)


# Operations without credentials have no invalid request, so no negative mode.
WAYS = [
    pytest.param(call, mode, id=f"{call.id}-{mode.value}")
    for call in OPERATIONS
    for mode in GenerationMode
    if (call.security and _may_be_invalid(call)) or mode is GenerationMode.POSITIVE
]


@pytest.mark.slow
@pytest.mark.parametrize(("call", "mode"), WAYS)
def test_service_does_what_the_document_says(described, call, mode):
    """Every response is one that the document lists for its operation."""
    operation = described[call.path][call.method]

    @hypothesis.settings(
        max_examples=8,
        derandomize=True,
        database=None,
        deadline=None,
        phases=[hypothesis.Phase.generate],
        suppress_health_check=list(hypothesis.HealthCheck),
    )
    @hypothesis.given(case=operation.as_strategy(mode))
    def ask(case: schemathesis.Case) -> None:
        answer = trio.run(_answer, case, clock=MockClock(autojump_threshold=0))
        excluded = [checks.ignored_auth]
        if _rejects_recipients(case, answer):
            excluded.append(checks.negative_data_rejection)
        case.validate_response(answer, excluded_checks=excluded)
        _check_lines(case, answer)

    ask()


def _rejects_recipients(case: schemathesis.Case, answer: Any) -> bool:
    """Whether bad names are problems of their recipients, and the others have items."""
    paths = ("/v1/notify", "/v1/update", "/v1/topics/{topic}/followers")
    if case.operation.path not in paths or answer.status_code != 200:
        return False
    return any(
        "problem" in each for each in msgspec.json.decode(answer.content)["results"]
    )


async def _answer(case: schemathesis.Case) -> schemathesis.Response:
    built = service.build(settings(), clock=wall_clock)
    async with trio.open_nursery() as nursery:
        await nursery.start(built.run)
        world = RunningService(built, AsgiClient(built.app))
        for user in ("alice", "bob"):
            await world.notify(user, category="mention", source="issue:42")
        answer = await _send(case, world)
        nursery.cancel_scope.cancel()
    return answer


async def _send(
    case: schemathesis.Case, world: RunningService
) -> schemathesis.Response:
    case.body = _with_plain_numbers(case.body)
    wire = case.as_transport_kwargs(base_url=URL)
    request = requests.Request(**wire).prepare()
    body = request.body or b""
    answer = await _client(case, world).request(
        case.method,
        request.path_url,
        headers=dict(request.headers),
        body=body.encode() if isinstance(body, str) else body,
    )
    return schemathesis.Response(
        status_code=answer.status,
        headers={name: [value] for name, value in answer.headers.items()},
        content=answer.body,
        request=request,
        elapsed=0.0,
        verify=False,
        message=HTTPStatus(answer.status).phrase,
    )


def _with_plain_numbers(body: Any) -> Any:
    """Write 2.0 as 2: equal in JSON Schema, but the service accepts no float."""
    match body:
        case float() if body.is_integer():
            return int(body)
        case dict():
            return {name: _with_plain_numbers(part) for name, part in body.items()}
        case list():
            return [_with_plain_numbers(part) for part in body]
    return body


def _client(case: schemathesis.Case, world: RunningService) -> AsgiClient:
    call = CALL_OF[case.operation.path, case.operation.method.upper()]
    if call.is_operator_only:
        return AsgiClient(world.service.operator_app)
    if not call.security:
        return world.anonymous
    if "producerKey" in call.security and not (call.id == "ticket" and case.body == {}):
        return world.producer
    return world.user()


def _check_lines(case: schemathesis.Case, answer: Any) -> None:
    """Validate each line and each event by its schema."""
    documented = case.operation.definition.raw["responses"].get(
        str(answer.status_code), {}
    )
    for content_type, media in documented.get("content", {}).items():
        if content_type == EVENT_STREAM:
            for event in Parser().receive_data(answer.content):
                _check(_EVENT_SCHEMAS[event.type], event.data.encode())
        elif "x-line" in media:
            for line in answer.content.splitlines():
                _check(media["x-line"], line)


_EVENT_SCHEMAS = {event.name: event.data_schema() for event in STREAM_EVENTS}


def _check(line_schema: dict[str, Any], line: bytes) -> None:
    whole = {**line_schema, "components": document()["components"]}
    Draft202012Validator(whole).validate(msgspec.json.decode(line))
