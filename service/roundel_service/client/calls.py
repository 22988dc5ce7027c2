"""Makes the calls: both clients use these functions, so that a call is described once.

The service slows a batch down whose results are not read, and HTTP libraries read no
result before the last line is written. So a batch is split into requests that the
buffers of a connection hold.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from functools import partial
from typing import TypeVar
from uuid import uuid4

import attrs
from msgspec import UNSET

from ..documents import BadgeDocument
from ..domain.subscriptions import Since
from ..http.explanation import Explanation
from ..http.responses import (
    BadgeState,
    DeleteUserResponse,
    DisconnectResponse,
    GaugeResponse,
    ItemsResponse,
    LiveResponse,
    NotifyResponse,
    PreferencesResponse,
    PreferencesState,
    ProblemDocument,
    RetractResponse,
    StreamsResponse,
    TicketResponse,
    UpdateResponse,
)
from ..http.schemas import (
    DisconnectRequest,
    FollowersRequest,
    GaugeRequest,
    MutedNames,
    NoFields,
    Op,
    OpsRequest,
    PreferencesRequest,
    TicketRequest,
)
from ..http.schemas.topic_responses import (
    DeleteTopicResponse,
    FollowersResponse,
    TopicResponse,
    UserTopicsResponse,
)
from . import endpoints
from .batch import BatchLine, BatchResponse
from .call import IDEMPOTENCY_KEY, Call, encode
from .errors import problem_name
from .notification import Notification, Recipients, check_finite, recipients

T = TypeVar("T")

MAX_REQUEST = 1 << 16
"""Bytes of a batch that are sent in one request; a longer line is sent alone."""

_KEY = re.compile(r"[\x21-\x7e]{1,255}")
_TRANSIENT = "engine-unavailable"


def notify(notification: Notification, key: str | None) -> Call[NotifyResponse]:
    """Return the call that notifies the users; a *key* is drawn if there is none."""
    call = endpoints.NOTIFY.call(document=notification.document())
    call = attrs.evolve(call, is_transient=_has_transient_problem)
    return _with_key(call, uuid4().hex if key is None else key)


def batch(
    notifications: Iterable[Notification], response: BatchResponse
) -> Iterator[Call[list[BatchLine]]]:
    """Yield the calls that send *notifications*, one a line, in order.

    The caller adds the result of each call to *response*.
    """
    key = response.idempotency_key
    lines: list[bytes] = []
    size, number = 0, 0
    for line in (encode(each.document()) + b"\n" for each in notifications):
        if lines and size + len(line) > MAX_REQUEST:
            yield _batch_call(lines, f"{key}-{number}")
            lines, size, number = [], 0, number + 1
        lines.append(line)
        size += len(line)
    if lines:
        yield _batch_call(lines, f"{key}-{number}")


def update(
    to: Recipients,
    fields: Mapping[str, object],
    selection: Mapping[str, str | None],
) -> Call[UpdateResponse]:
    """Return the call that changes items in place."""
    check_finite("ttl", fields.get("ttl"))
    given = {name: each for name, each in selection.items() if each is not None}
    document = {"to": recipients(to), "set": fields, **given}
    call = endpoints.UPDATE.call(document=document)
    return attrs.evolve(call, is_transient=_has_transient_problem)


def retract(
    *,
    source: str | None,
    key: str | None,
    category: str | None,
    id: str | None,  # noqa: A002, the name of the field
    user: str | None,
    topic: str | None,
) -> Call[RetractResponse]:
    """Return the call that removes items."""
    query = {
        "source": source,
        "key": key,
        "category": category,
        "id": id,
        "user": user,
        "topic": topic,
    }
    return endpoints.RETRACT.call(query=query)


def change_followers(
    topic: str, add: Iterable[str], remove: Iterable[str], since: Since
) -> Call[FollowersResponse]:
    """Return the call that lets users follow a topic, or leave it."""
    document = FollowersRequest(
        add=_names("add", add), remove=_names("remove", remove), since=since
    )
    call = endpoints.CHANGE_FOLLOWERS.call(topic, document=document)
    return attrs.evolve(call, is_transient=_has_transient_problem)


def topic(name: str, *, before: int | None, limit: int | None) -> Call[TopicResponse]:
    """Return the call that reads a page of a topic."""
    return endpoints.TOPIC.call(name, query={"before": before, "limit": limit})


def delete_topic(name: str) -> Call[DeleteTopicResponse]:
    """Return the call that empties a topic."""
    return endpoints.DELETE_TOPIC.call(name)


def explain_topic(name: str) -> Call[Explanation]:
    """Return the call that explains a topic."""
    return endpoints.EXPLAIN_TOPIC.call(name)


def topics(user: str) -> Call[UserTopicsResponse]:
    """Return the call that reads what *user* follows."""
    return endpoints.TOPICS_OF_USER.call(user)


def set_gauge(
    user: str, category: str, count: int, source_version: int
) -> Call[GaugeResponse]:
    """Return the call that sets the count of a category."""
    document = GaugeRequest(count=count, source_version=source_version)
    return endpoints.SET_GAUGE.call(user, category, document=document)


def drop_gauge(user: str, category: str) -> Call[BadgeState]:
    """Return the call that removes a gauge."""
    return endpoints.DROP_GAUGE.call(user, category)


def badge(
    user: str | None,
    categories: Iterable[str] | None,
    known: BadgeDocument | None,
    wait: float,
) -> Call[BadgeDocument]:
    """Return the call that reads a badge, of the caller if *user* is `None`."""
    names = None if categories is None else ",".join(_names("categories", categories))
    query = {"wait": wait or None, "categories": names}
    if user is None:
        call = endpoints.BADGE.call(query=query)
    else:
        call = endpoints.USER_BADGE.call(user, query=query)
    if known is None:
        return call
    headers = {"If-None-Match": f'"{known.epoch}.{known.v}"'}
    return attrs.evolve(call, headers=headers, known=known, wait=wait)


def items(
    user: str | None,
    *,
    category: str | None,
    state: str | None,
    before: int | None,
    limit: int | None,
) -> Call[ItemsResponse]:
    """Return the call that reads a page of items, the caller's if *user* is `None`."""
    query = {"category": category, "state": state, "before": before, "limit": limit}
    if user is None:
        return endpoints.ITEMS.call(query=query)
    return endpoints.USER_ITEMS.call(user, query=query)


def streams(user: str) -> Call[StreamsResponse]:
    """Return the call that counts the streams of a user."""
    return endpoints.STREAMS.call(user)


def ops(operations: Iterable[Op], op_id: str | None) -> Call[BadgeState]:
    """Return the call that applies *operations*, all or none."""
    document = OpsRequest(
        ops=[*operations], op_id=uuid4().hex if op_id is None else op_id
    )
    return endpoints.OPS.call(document=document)


def preferences(user: str | None) -> Call[PreferencesResponse]:
    """Return the call that reads preferences, of the caller if *user* is `None`."""
    if user is None:
        return endpoints.PREFERENCES.call()
    return endpoints.USER_PREFERENCES.call(user)


def set_muted(
    user: str | None, categories: Iterable[str], topics: Iterable[str]
) -> Call[PreferencesState]:
    """Return the call that replaces what is muted."""
    muted = MutedNames(
        categories=_names("categories", categories), topics=_names("topics", topics)
    )
    document = PreferencesRequest(muted=muted)
    if user is None:
        return endpoints.SET_PREFERENCES.call(document=document)
    return endpoints.SET_USER_PREFERENCES.call(user, document=document)


def _names(argument: str, names: Iterable[str]) -> list[str]:
    """Return *names* as a list; raises `ValueError` for a single text."""
    if isinstance(names, str):
        message = f"expected {argument} as a list, got the text {names!r}"
        raise ValueError(message)  # noqa: TRY004, as for other arguments
    return list(names)


def ticket(user: str | None, session: float | None) -> Call[TicketResponse]:
    """Return the call that gets a ticket, for the caller if *user* is `None`."""
    if user is None:
        return endpoints.TICKET.call(document=NoFields())
    document = TicketRequest(user=user, session=UNSET if session is None else session)
    return endpoints.TICKET.call(document=document)


def explain(user: str) -> Call[Explanation]:
    """Return the call that explains a badge."""
    return endpoints.EXPLAIN.call(user)


def disconnect(
    user: str, *, revoke: bool, issued_before: float | None
) -> Call[DisconnectResponse]:
    """Return the call that ends a user's streams.

    Without *issued_before* a revocation is not repeated: the user may have logged in
    since the first request, and the second one would revoke the new credential.
    """
    given = UNSET if issued_before is None else issued_before
    document = DisconnectRequest(revoke=revoke, issued_before=given)
    call = endpoints.DISCONNECT.call(user, document=document)
    return attrs.evolve(call, may_repeat=not revoke or issued_before is not None)


def delete_user(user: str) -> Call[DeleteUserResponse]:
    """Return the call that deletes a mailbox."""
    return endpoints.DELETE_USER.call(user)


def live() -> Call[LiveResponse]:
    """Return the call that checks whether the process is alive."""
    return endpoints.LIVE.call()


def new_batch(key: str | None) -> BatchResponse:
    """Return an empty response of a batch; a *key* is drawn if there is none."""
    return BatchResponse(uuid4().hex if key is None else _check_key(key))


def _batch_call(lines: list[bytes], key: str) -> Call[list[BatchLine]]:
    call = Call(
        endpoint=endpoints.BATCH,
        target=endpoints.BATCH.path,
        decode=partial(_decode_as_many, len(lines)),
        content=b"".join(lines),
        headers={"Content-Type": endpoints.BATCH.media_type},
        is_transient=_has_transient_line,
    )
    return _with_key(call, key)


def _decode_as_many(count: int, body: bytes) -> list[BatchLine]:
    lines = endpoints.BATCH.decode(body)
    if len(lines) != count:
        raise ValueError(f"expected {count} lines, got {len(lines)}")
    return lines


def _with_key(call: Call[T], key: str) -> Call[T]:
    return attrs.evolve(
        call, headers={**call.headers, IDEMPOTENCY_KEY: _check_key(key)}
    )


def _check_key(key: str) -> str:
    if not _KEY.fullmatch(key):
        raise ValueError("expected an idempotency key of up to 255 visible characters")
    return key


def _has_transient_problem(
    response: NotifyResponse | UpdateResponse | FollowersResponse,
) -> bool:
    return any(_is_transient(each.problem) for each in response.problems)


def _has_transient_line(lines: list[BatchLine]) -> bool:
    return any(
        _is_transient(line)
        if isinstance(line, ProblemDocument)
        else _has_transient_problem(line)
        for line in lines
    )


def _is_transient(problem: ProblemDocument) -> bool:
    return problem_name(problem) == _TRANSIENT
