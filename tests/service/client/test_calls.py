"""The calls of the clients are those of the contract, and both clients have them."""

from __future__ import annotations

import inspect
import json
import math
import re
from pathlib import Path

import attrs
import msgspec
import pytest

from roundel_service import client
from roundel_service.client import (
    ALL_USERS,
    AsyncBadgeClient,
    BadgeClient,
    Followers,
    Notification,
    Op,
    calls,
    endpoints,
)
from roundel_service.http import schemas
from roundel_service.http.openapi.operations import OPERATIONS

PAGE = (Path(__file__).parents[3] / "docs/reference/badge-client.md").read_text()
LOOP: list[object] = []
LOOP.append(LOOP)
NOT_CALLED = {
    "stream": "`roundel_adapters.client.connect()` reads it",
    "readyz": "the operator's listener",
    "metrics": "the operator's listener",
    "openapi": "a document for tools",
}


def public_methods(kind):
    return {
        name: method
        for name, method in vars(kind).items()
        if inspect.isfunction(method) and not name.startswith("_")
    }


def test_clients_have_every_operation_of_the_contract():
    """Each operation has an endpoint with its method, path and media type."""
    own = {
        each.operation: (each.method, each.path, each.media_type)
        for each in endpoints.ENDPOINTS
    }
    contract = {
        each.id: (each.method, each.path, each.responses[0].content_type)
        for each in OPERATIONS
        if each.id not in NOT_CALLED
    }

    assert contract == own


def test_both_clients_have_the_same_methods():
    """Names, arguments, defaults, annotations and docstrings are the same."""
    sync, asynchronous = map(public_methods, (BadgeClient, AsyncBadgeClient))
    del sync["close"], asynchronous["aclose"]

    assert sync.keys() == asynchronous.keys()
    for name, method in sync.items():
        assert inspect.signature(method) == inspect.signature(asynchronous[name])
        assert inspect.getdoc(method) == inspect.getdoc(asynchronous[name])


def arguments_of(method):
    return {*inspect.signature(method).parameters} - {"self", "timeout"}


@pytest.mark.parametrize(
    ("method", "kind", "more", "missing"),
    [
        ("notify", schemas.NotifyRequest, {"idempotency_key", "check"}, set()),
        ("gauge", schemas.GaugeRequest, {"user", "category"}, set()),
        ("change_followers", schemas.FollowersRequest, {"topic", "check"}, set()),
        ("update", schemas.UpdateRequest, {"check"}, set()),
        ("retract", schemas.RetractQuery, set(), set()),
        ("topic", schemas.TopicQuery, {"topic"}, set()),
        ("items", schemas.UserItemsQuery, {"user"}, set()),
        ("badge", schemas.BadgeQuery, {"user", "known"}, set()),
        ("set_muted", schemas.MutedNames, {"user"}, set()),
        ("ticket", schemas.TicketRequest, set(), set()),
        ("disconnect", schemas.DisconnectRequest, {"user"}, set()),
        ("ops", schemas.OpsRequest, {"operations"}, {"ops"}),
    ],
)
def test_method_has_every_field_of_its_request(method, kind, more, missing):
    """A field of the contract is an argument of the method."""
    fields = {*kind.__struct_fields__} - missing

    assert fields | more == arguments_of(getattr(BadgeClient, method))


def test_notification_has_every_field():
    """A line of a batch has the fields of a notification."""
    fields = [field.name for field in attrs.fields(Notification)]

    assert {*schemas.NotifyRequest.__struct_fields__} == {*fields}


def test_body_has_given_fields_only():
    """An older service, which refuses unknown fields, gets no field of a newer one."""
    call = calls.notify(Notification("alice", "Hi", ttl=5), "k")

    assert {"to": {"user": "alice"}, "title": "Hi", "ttl": 5} == json.loads(
        call.content
    )
    many = calls.notify(Notification(["alice", "bob"], "Hi"), "k")
    assert {"users": ["alice", "bob"]} == json.loads(many.content)["to"]


def test_notification_can_be_sent_again():
    """The names are kept, also those of an iterator: a batch may be repeated."""
    note = Notification((name for name in ("alice", "bob")), "Hi")

    assert note.document() == note.document()
    assert {"users": ["alice", "bob"]} == note.document()["to"]


def test_bodies_are_decoded_by_the_service():
    """Each body has the type that the service decodes it as."""
    note = Notification(
        ["a"], "t", category="c", body="b", url="u", icon="i", key="k", source="s",
        data={"x": [1]}, ttl=1.5, quiet=True, replaces="i",
    )  # fmt: skip
    later = Notification("a", "t", ttl=0, at=7.5)
    operations = [Op(read=["i"]), Op(read_all=True, as_of=3, category="dm")]
    for call, kind in [
        (calls.notify(note, None), schemas.NotifyRequest),
        (calls.notify(later, None), schemas.NotifyRequest),
        (calls.notify(Notification(ALL_USERS, "t"), None), schemas.NotifyRequest),
        (calls.update(Followers("t"), {"title": "t"}, {"id": "i"}),
         schemas.UpdateRequest),
        (calls.change_followers("t", iter("ab"), (), 5.0), schemas.FollowersRequest),
        (calls.update("a", {"title": "t", "body": None}, {"id": "i", "key": None}),
         schemas.UpdateRequest),
        (calls.ops(operations, None), schemas.OpsRequest),
        (calls.set_gauge("a", "c", 1, 2), schemas.GaugeRequest),
        (calls.set_muted(None, {"c"}, ("t",)), schemas.PreferencesRequest),
        (calls.ticket("a", 5.0), schemas.TicketRequest),
        (calls.ticket(None, None), schemas.NoFields),
        (calls.disconnect("a", revoke=True, issued_before=1.0),
         schemas.DisconnectRequest),
    ]:  # fmt: skip
        assert msgspec.json.decode(call.content, type=kind)


@pytest.mark.parametrize(
    ("name", "segment"),
    [
        ("alice", "alice"),
        ("a/b", "a%2Fb"),
        ("a b?#%", "a%20b%3F%23%25"),
        ("é", "%C3%A9"),
        (".", "%2E"),
        ("..", "%2E%2E"),
        ("a.b", "a.b"),
        ("{user}", "%7Buser%7D"),
    ],
)
def test_name_is_one_segment_of_the_path(name, segment):
    """A name is escaped, so that it is neither a path nor removed from it."""
    assert f"/v1/users/{segment}/explain" == calls.explain(name).target
    assert f"/v1/users/{segment}/gauges/c" == calls.drop_gauge(name, "c").target


@pytest.mark.parametrize(
    "make",
    [
        lambda: calls.explain(""),
        lambda: calls.explain("\udc80"),
        lambda: calls.ticket("#topic", None),
        lambda: Op(),
        lambda: Op(read=[], unread=[]),
        lambda: calls.notify(Notification("a", "t"), ""),
        lambda: calls.new_batch(""),
        lambda: calls.notify(Notification("a", "t"), "a b"),
        lambda: calls.notify(Notification("a", "t"), "k" * 256),
        lambda: calls.notify(Notification("a", "\udc80"), "k"),
        lambda: calls.notify(Notification("a", "t", data=object()), "k"),
        lambda: calls.notify(Notification("a", "t", data=LOOP), "k"),
        lambda: Notification("a", "t", ttl=math.nan),
        lambda: Notification("a", "t", ttl=math.inf),
        lambda: Notification("a", "t", at=math.inf),
        lambda: calls.update("a", {"ttl": math.nan}, {"source": "s"}),
        lambda: calls.update("a", {"data": object()}, {"source": "s"}),
        lambda: calls.badge(None, "dm", None, 0),
        lambda: calls.set_muted("a", "news", ()),
        lambda: calls.change_followers("t", "alice", (), "now"),
        lambda: calls.change_followers("t", (), "alice", "now"),
    ],
)
def test_argument_that_cannot_be_sent_is_a_value_error(make):
    """A mistake that no service could answer is raised before any request."""
    with pytest.raises(ValueError, match=r"expected|surrogates"):
        make()


def test_reference_has_every_method_with_its_call():
    """The page lists each method with the call that it makes and what it returns."""
    rows = re.findall(
        r"^\| `(\w+)\((.*)\)` \| `(.+?)` \| `(\w+)` \|$", PAGE, re.MULTILINE
    )
    contract = {f"{each.method} {each.path}" for each in endpoints.ENDPOINTS}
    methods = public_methods(BadgeClient)
    del methods["close"]

    described = re.findall(r"^\.\. automethod:: .*\.(\w+)$", PAGE, re.MULTILINE)

    assert {name for name, *_ in rows} == methods.keys() == {*described}
    assert {call for *_, call, _ in rows} == contract
    for name, _, _, returned in rows:
        assert returned == inspect.signature(methods[name]).return_annotation


def test_exports_are_documented():
    """`__all__` is sorted, and each name has a docstring."""
    assert sorted(client.__all__) == client.__all__
    for name in client.__all__:
        value = getattr(client, name)
        if inspect.isclass(value):
            assert inspect.getdoc(value), name
