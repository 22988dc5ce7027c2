"""Decodes responses into the types that the service encodes them from.

msgspec has no unions of structs without tags: the members are found by their fields.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

import msgspec

from ..documents import RemoveStep, SetStep
from ..http.explanation import (
    ExplainedAddStep,
    ExplainedStep,
    ExplainedUpdateStep,
    Explanation,
)
from ..http.responses import (
    NotifyResponse,
    ProblemDocument,
    RecipientOutcome,
    RecipientProblem,
    RecipientResult,
    TopicResult,
    TopicUpdateResult,
    UpdateOutcome,
    UpdateResponse,
    UpdateResult,
)
from ..http.schemas.topic_responses import (
    FollowerOutcome,
    FollowerResult,
    FollowersResponse,
)

T = TypeVar("T")

_STEPS = {
    "add": ExplainedAddStep,
    "update": ExplainedUpdateStep,
    "set": SetStep,
    "remove": RemoveStep,
}


def decoder_of(kind: type[T]) -> Callable[[bytes], T]:
    """Return the decoder of a JSON document; it raises `msgspec.MsgspecError`."""
    return msgspec.json.Decoder(kind).decode


_decode_notify = decoder_of(NotifyResponse)
_decode_update = decoder_of(UpdateResponse)
_decode_followers = decoder_of(FollowersResponse)
_decode_explanation = decoder_of(Explanation)
_decode_object = decoder_of(dict[str, msgspec.Raw])


def decode_notify(body: bytes) -> NotifyResponse:
    """Decode the response of notify; raises `msgspec.MsgspecError`."""
    response = _decode_notify(body)
    response.results = [_outcome(each) for each in response.results]
    return response


def decode_update(body: bytes) -> UpdateResponse:
    """Decode the response of update; raises `msgspec.MsgspecError`."""
    response = _decode_update(body)
    response.results = [_update_outcome(each) for each in response.results]
    return response


def decode_followers(body: bytes) -> FollowersResponse:
    """Decode the response of a change of followers; raises `msgspec.MsgspecError`."""
    response = _decode_followers(body)
    response.results = [_follower_outcome(each) for each in response.results]
    return response


def decode_lines(body: bytes) -> list[NotifyResponse | ProblemDocument]:
    """Decode the lines of a batch; raises `msgspec.MsgspecError`."""
    return [_decode_line(line) for line in body.splitlines() if line]


def decode_explanation(body: bytes) -> Explanation:
    """Decode an explanation; raises `msgspec.MsgspecError`.

    Steps of a kind that a newer service has are left out.
    """
    explanation = _decode_explanation(body)
    for operation in explanation.operations:
        found = map(_step, operation.steps)
        operation.steps = [step for step in found if step is not None]
    return explanation


def _decode_line(line: bytes) -> NotifyResponse | ProblemDocument:
    if "results" in _decode_object(line):
        return decode_notify(line)
    return msgspec.json.decode(line, type=ProblemDocument)


def _outcome(document: object) -> RecipientOutcome:
    if _is_problem(document):
        return msgspec.convert(document, RecipientProblem)
    if _is_of_topic(document):
        return msgspec.convert(document, TopicResult)
    return msgspec.convert(document, RecipientResult)


def _update_outcome(document: object) -> UpdateOutcome:
    if _is_problem(document):
        return msgspec.convert(document, RecipientProblem)
    if _is_of_topic(document):
        return msgspec.convert(document, TopicUpdateResult)
    return msgspec.convert(document, UpdateResult)


def _follower_outcome(document: object) -> FollowerOutcome:
    if _is_problem(document):
        return msgspec.convert(document, RecipientProblem)
    return msgspec.convert(document, FollowerResult)


def _is_problem(document: object) -> bool:
    return isinstance(document, dict) and "problem" in document


def _is_of_topic(document: object) -> bool:
    return isinstance(document, dict) and "topic" in document


def _step(document: object) -> ExplainedStep | None:
    names = document if isinstance(document, dict) else {}
    kind = next((kind for name, kind in _STEPS.items() if name in names), None)
    return None if kind is None else msgspec.convert(document, kind)
