"""Verified tokens: what is remembered of them, and what is not."""

from __future__ import annotations

import pytest

from roundel_service.http.problems import Problem
from roundel_service.identity.authenticator import Authenticator, Credentials, HmacKey
from roundel_service.identity.tickets import Tickets
from roundel_service.identity.verified_tokens import MAX_LENGTH, VerifiedTokenCache

SECRET = "0123456789abcdef0123456789abcdef"
CLAIMS = {"sub": "alice", "exp": 200.0, "iat": 100.0, "aud": "us", "iss": "them"}


@pytest.fixture
def secret() -> HmacKey:
    return HmacKey(SECRET)


def gate(secret: HmacKey, *, now: float = 100.0, **changes: str) -> Authenticator:
    return Authenticator(
        producer_keys=("one",),
        keys=secret,
        tickets=Tickets(producer_keys=("one",), clock=lambda: now),
        clock=lambda: now,
        **changes,
    )


async def detail(made: Authenticator, token: str) -> str:
    """Return what is wrong with a token, or the name of its user."""
    try:
        return (await made.user(Credentials(cookie=token))).name
    except Problem as problem:
        return f"{problem.status}: {problem.detail}"


def test_what_was_kept_is_found():
    """A token is known by all of it; what it claims is what was kept."""
    believed = VerifiedTokenCache()
    believed.keep("a.b.c", {"sub": "alice"})

    assert {"sub": "alice"} == believed.get("a.b.c")
    for other in ("a.b.d", "a.b.c ", "a.b", "", "é"):
        assert believed.get(other) is None


def test_least_recently_used_goes_first():
    """However many tokens there are, so much is kept and no more."""
    believed = VerifiedTokenCache(capacity=2)
    for token in ("a", "b"):
        believed.keep(token, {"sub": token})
    believed.get("a")
    believed.keep("c", {"sub": "c"})

    assert 2 == len(believed)
    assert [True, False, True] == [believed.get(t) is not None for t in "abc"]


def test_long_token_is_not_kept():
    """What a token claims may be as long as the token is."""
    believed = VerifiedTokenCache()
    for length in (MAX_LENGTH, MAX_LENGTH + 1):
        believed.keep("a" * length, {})

    assert 1 == len(believed)


def test_all_is_forgotten_at_once():
    """A key that is retired is believed no longer, by whatever it has signed."""
    believed = VerifiedTokenCache()
    believed.keep("a", {})
    believed.forget()

    assert believed.get("a") is None


async def test_token_claims_the_same_each_time(secret):
    """Whether it was verified now or before makes no difference."""
    token = secret.sign(CLAIMS)

    assert CLAIMS == await secret.claims(token) == await secret.claims(token)


@pytest.mark.parametrize("at", [5, 40, -1])
async def test_token_that_is_changed_is_verified_anew(secret, at):
    """To know a good one is no help with another."""
    token = secret.sign(CLAIMS)
    assert "alice" == await detail(gate(secret), token)
    letters = [*token]
    letters[at] = "A" if letters[at] != "A" else "Q"

    assert "not valid" in await detail(gate(secret), "".join(letters))


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"now": 199.9}, "alice"),
        ({"now": 200.0}, "401: the token has expired"),
        ({"now": 39.0}, "of the future"),
        ({"audience": "us", "issuer": "them"}, "alice"),
        ({"audience": "others"}, "aud"),
        ({"issuer": "others"}, "iss"),
    ],
)
async def test_verified_token_is_judged_in_each_call(secret, changes, told):
    """Its times, its audience and its issuer are looked at every time."""
    token = secret.sign(CLAIMS)
    assert "alice" == await detail(gate(secret), token)

    assert told in await detail(gate(secret, **changes), token)


async def test_each_secret_believes_its_own(secret):
    """What another has verified is verified here, by the secret that is here."""
    token = secret.sign(CLAIMS)
    assert "alice" == await detail(gate(secret), token)

    assert "not valid" in await detail(gate(HmacKey(SECRET[::-1])), token)
