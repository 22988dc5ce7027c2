"""The cache of verified tokens: what it holds, and what each request still checks."""

from __future__ import annotations

import pytest

from roundel_service.identity.authenticator import Authenticator
from roundel_service.identity.callers import Credentials
from roundel_service.identity.errors import InvalidCredentials
from roundel_service.identity.hmac_key import HmacKey
from roundel_service.identity.verified_tokens import (
    MAX_TOKEN_LENGTH,
    VerifiedTokenCache,
)

SECRET = "0123456789abcdef0123456789abcdef"
CLAIMS = {"sub": "alice", "exp": 200.0, "iat": 100.0, "aud": "us", "iss": "them"}


@pytest.fixture
def key() -> HmacKey:
    return HmacKey((SECRET,))


async def user_or_error(
    key: HmacKey, token: str, *, now: float = 100.0, **changes: str
) -> str:
    """Return the user whom *token* identifies, or the message of the error."""
    authenticator = Authenticator(
        producer_keys=("one",),
        keys=key,
        clock=lambda: now,
        **changes,
    )
    try:
        return (await authenticator.user(Credentials(cookies=(token,)))).name
    except InvalidCredentials as error:
        return str(error)


def test_added_token_is_found():
    """The cache compares whole tokens and returns the added claims."""
    cache = VerifiedTokenCache()
    cache.add("a.b.c", {"sub": "alice"})

    assert {"sub": "alice"} == cache.get("a.b.c")
    for other in ("a.b.d", "a.b.c ", "a.b", "", "é"):
        assert cache.get(other) is None


def test_least_recently_used_token_is_evicted():
    """The cache never holds more tokens than its capacity."""
    cache = VerifiedTokenCache(capacity=2)
    for token in ("a", "b"):
        cache.add(token, {"sub": token})
    cache.get("a")
    cache.add("c", {"sub": "c"})

    assert [True, False, True] == [cache.get(t) is not None for t in "abc"]


def test_long_token_is_not_cached():
    """The size of the claims is bounded by the length of the token."""
    cache = VerifiedTokenCache()
    longest = "a" * MAX_TOKEN_LENGTH
    for token in (longest, longest + "a"):
        cache.add(token, {})

    assert {} == cache.get(longest)
    assert cache.get(longest + "a") is None


async def test_cached_token_has_the_same_claims(key):
    """The first and the second verification return the same claims."""
    token = key.sign(CLAIMS)

    assert CLAIMS == await key.verify(token) == await key.verify(token)


@pytest.mark.parametrize("at", [5, 40, -1])
async def test_changed_token_is_verified_again(key, at):
    """A cached token does not make a similar one valid."""
    token = key.sign(CLAIMS)
    assert "alice" == await user_or_error(key, token)
    letters = [*token]
    letters[at] = "A" if letters[at] != "A" else "Q"

    assert "not valid" in await user_or_error(key, "".join(letters))


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({"now": 199.9}, "alice"),
        ({"now": 200.0}, "the token has expired"),
        ({"now": 39.0}, "in the future"),
        ({"audiences": ("us",), "issuers": ("them",)}, "alice"),
        ({"audiences": ("others",)}, "aud"),
        ({"issuers": ("others",)}, "iss"),
    ],
)
async def test_claims_of_a_cached_token_are_checked_each_time(key, changes, expected):
    """Times, audience and issuer are checked in each request."""
    token = key.sign(CLAIMS)
    assert "alice" == await user_or_error(key, token)

    assert expected in await user_or_error(key, token, **changes)


async def test_each_key_has_its_own_cache(key):
    """A token that one key verified is not valid for another key."""
    token = key.sign(CLAIMS)
    assert "alice" == await user_or_error(key, token)

    assert "not valid" in await user_or_error(HmacKey((SECRET[::-1],)), token)
