"""Proofs of identity: what is believed, and what is not."""

from __future__ import annotations

import pytest
from joserfc import jwt
from joserfc.jwk import OctKey

from roundel_service.auth import Gate, Producer, User, is_user_name
from roundel_service.problems import Problem

NOW = 1_000_000.0
SECRET = "0123456789abcdef0123456789abcdef"


def gate(**changes) -> Gate:
    given = {"producer_keys": ("one", "two"), "jwt_secret": SECRET, **changes}
    return Gate(clock=lambda: NOW, **given)


def signed(claims, secret=SECRET, **header) -> str:
    return jwt.encode({"alg": "HS256", **header}, claims, OctKey.import_key(secret))


GOOD = {"sub": "alice", "exp": NOW + 60}
REFUSED = {
    "nonsense": "nonsense",
    "three-parts": "a.b.c",
    "other-secret": signed(GOOD, "another-secret-of-32-bytes-or-more"),
    "expired": signed({**GOOD, "exp": NOW - 1}),
    "no-exp": signed({"sub": "alice"}),
    "no-sub": signed({"exp": NOW + 60}),
    "not-yet": signed({**GOOD, "nbf": NOW + 30}),
    "exp-text": signed({**GOOD, "exp": "soon"}),
    "exp-true": signed({**GOOD, "exp": True}),
    "sub-number": signed({**GOOD, "sub": 7}),
    "sub-no-name": signed({**GOOD, "sub": "alice smith"}),
    "sub-line-end": signed({**GOOD, "sub": "alice\n"}),
    "not-signed": "eyJhbGciOiJub25lIn0.eyJzdWIiOiJhbGljZSIsImV4cCI6OTk5OTk5OTk5OX0.",
    "not-ascii": "é",
}


@pytest.mark.parametrize("token", REFUSED.values(), ids=REFUSED)
def test_token_that_proves_nothing_is_401_and_not_repeated(token):
    """Every defect of a token is refused the same way, and no token is printed."""
    with pytest.raises(Problem) as refused:
        gate().user(f"Bearer {token}", None)

    assert refused.value.status == 401
    assert token not in refused.value.detail


def test_algorithm_is_fixed_by_configuration():
    """A token cannot choose how it is verified, not even among good algorithms."""
    other = jwt.encode(
        {"alg": "HS512"}, GOOD, OctKey.import_key(SECRET * 2), algorithms=["HS512"]
    )
    with pytest.raises(Problem) as refused:
        gate(jwt_secret=SECRET * 2).user(f"Bearer {other}", None)

    assert refused.value.status == 401


def test_token_proves_its_user_until_it_expires():
    """What is signed here is believed here."""
    token = gate().sign("alice", ttl=60)

    assert User("alice", NOW + 60, by_cookie=False) == gate().user(
        f"Bearer {token}", None
    )
    assert User("alice", NOW + 60, by_cookie=True) == gate().user(None, token)


@pytest.mark.parametrize("key", ["one", "two"])
def test_each_key_proves_a_producer(key):
    """Keys are rotated by having two for a while."""
    assert Producer() == gate().producer(f"bearer {key}", None)


@pytest.mark.parametrize("header", ["Basic b25l", "Bearer", "Bearer ", "one", ""])
def test_header_that_is_no_bearer_is_401(header):
    """Another scheme proves nothing."""
    with pytest.raises(Problem) as refused:
        gate().producer(header, None)

    assert refused.value.status == 401


@pytest.mark.parametrize("claim", ["audience", "issuer"])
def test_audience_and_issuer_are_checked_where_they_are_set(claim):
    """A token for somebody else's service is not one for this."""
    mine, other = gate(**{claim: "me"}), gate(**{claim: "you"})

    assert mine.user(f"Bearer {mine.sign('alice', ttl=9)}", None).name == "alice"
    for token in (other.sign("alice", ttl=9), gate().sign("alice", ttl=9)):
        with pytest.raises(Problem):
            mine.user(f"Bearer {token}", None)


def test_bearer_comes_before_the_cookie():
    """Of two good proofs the one that was presented on purpose counts."""
    alice, bob = gate().sign("alice", ttl=9), gate().sign("bob", ttl=9)

    assert gate().user(f"Bearer {alice}", bob).name == "alice"


@pytest.mark.parametrize(
    ("name", "valid"),
    [("a", True), ("A.z_~@:+-9", True), ("u" * 128, True), ("u" * 129, False)]
    + [(name, False) for name in ("", "a b", "a/b", "é", "a\n")],
)
def test_user_names_are_of_a_plain_alphabet(name, valid):
    """A user's name needs no quoting anywhere."""
    assert valid == is_user_name(name)


def test_gate_prints_no_secret():
    """A gate in a log line or a traceback tells nothing."""
    assert SECRET not in repr(gate())
