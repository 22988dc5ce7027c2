"""Hashes of bodies, which stores keep for a day: each version computes the same."""

from __future__ import annotations

import msgspec
import pytest

from roundel_service.http import schemas

NOTIFY = {
    "to": {"users": ["alice", "bob"]},
    "title": "Hi",
    "key": "k",
    "data": {"a": [1, 2.5]},
    "ttl": 60,
}
OPS = [
    {"read": ["a"]},
    {"read_all": True, "as_of": 3, "category": "dm"},
    {"remove": ["b"]},
]


def notify_hash(**fields) -> str:
    body = msgspec.json.encode(NOTIFY | fields)
    return msgspec.json.decode(body, type=schemas.NotifyRequest).content_hash()


@pytest.mark.parametrize("fields", [{}, {"at": None}, {"quiet": False, "url": None}])
def test_a_notify_of_before_an_upgrade_is_the_same_body_after_it(fields):
    """An `Idempotency-Key` that the version without `at` claimed is no other body."""
    assert notify_hash(**fields) == "6ca4a67fa64547c1864abb882fa004a2"


def test_each_field_is_a_part_of_the_hash():
    """A key with another time, text or recipient was used with another body."""
    changes = [{"at": 5.0}, {"at": 6.0}, {"title": "Ho"}, {"to": {"user": "alice"}}]
    assert len({notify_hash(**fields) for fields in [{}, *changes]}) == 5


def test_ops_of_before_an_upgrade_are_the_same_ops_after_it():
    """An `op_id` that was used before an upgrade is repeated after it."""
    body = msgspec.json.encode({"ops": OPS, "op_id": "1"})
    request = msgspec.json.decode(body, type=schemas.OpsRequest)
    assert request.operation("").digest == "f80c79454e04da4e4d4d028f9b8de877"
