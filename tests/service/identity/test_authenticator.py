"""Proofs of identity: what is believed, and what is not."""

from __future__ import annotations

import base64
import hashlib
import hmac
import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from joserfc import jwe, jwt
from joserfc.jwk import ECKey, OctKey

from roundel_service.http.problems import Problem
from roundel_service.identity.authenticator import (
    MAX_CREDENTIAL,
    Authenticator,
    Credentials,
    HmacKey,
    Producer,
    User,
)
from roundel_service.identity.jwks import JwkSet
from roundel_service.identity.tickets import Tickets

NOW = 1_000_000.25
SECRET = "0123456789abcdef0123456789abcdef"
KEYS = ("one", "two")


def gate(secret: str = SECRET, **changes) -> Authenticator:
    made = {
        "producer_keys": KEYS,
        "keys": HmacKey(secret),
        "tickets": Tickets(producer_keys=KEYS, clock=lambda: NOW),
        "clock": lambda: NOW,
        **changes,
    }
    return Authenticator(**made)


def bearer(proof: str) -> Credentials:
    return Credentials(authorization=f"Bearer {proof}")


def signed(claims, secret=SECRET, **header) -> str:
    return jwt.encode({"alg": "HS256", **header}, claims, OctKey.import_key(secret))


def coded(part: bytes) -> str:
    return base64.urlsafe_b64encode(part).decode().rstrip("=")


def by_hand(header: str, claims: str, secret: str = SECRET) -> str:
    """Sign what a library would not: the header and the claims are any text."""
    message = f"{coded(header.encode())}.{coded(claims.encode())}"
    mac = hmac.digest(secret.encode(), message.encode(), hashlib.sha256)
    return f"{message}.{coded(mac)}"


def saying(claims: str) -> str:
    return by_hand('{"alg":"HS256"}', claims)


def headed(header: str) -> str:
    return by_hand(header, json.dumps(GOOD))


def ticket(user: str = "alice", *, holds_until: float = NOW + 100, keys=KEYS) -> str:
    some = Tickets(producer_keys=keys, clock=lambda: NOW)
    return some.issue(user, holds_until=holds_until, issued_at=NOW - 1)


async def refused(proofs: Credentials, gate_: Authenticator | None = None) -> Problem:
    """Return the problem that these proofs are answered with."""
    with pytest.raises(Problem) as problem:
        await (gate_ or gate()).user(proofs)
    return problem.value


GOOD = {"sub": "alice", "exp": NOW + 60}
REFUSED = {
    "nothing": "",
    "nonsense": "nonsense",
    "three-parts": "a.b.c",
    "not-ascii": "é",
    "huge": signed({**GOOD, "more": "x" * MAX_CREDENTIAL}),
    "other-secret": signed(GOOD, "another-secret-of-32-bytes-or-more"),
    "expired": signed({**GOOD, "exp": NOW - 0.125}),
    "expires-now": signed({**GOOD, "exp": NOW}),
    "no-exp": signed({"sub": "alice"}),
    "no-sub": signed({"exp": NOW + 60}),
    "not-yet": signed({**GOOD, "nbf": NOW + 61}),
    "of-the-future": signed({**GOOD, "iat": NOW + 61}),
    "exp-text": signed({**GOOD, "exp": "soon"}),
    "exp-digits": signed({**GOOD, "exp": "99999999999"}),
    "exp-true": signed({**GOOD, "exp": True}),
    "exp-null": signed({**GOOD, "exp": None}),
    "exp-list": signed({**GOOD, "exp": [9]}),
    "exp-in-milliseconds": signed({**GOOD, "exp": 1_763_690_000_000}),
    "exp-infinite": saying('{"sub":"alice","exp":Infinity}'),
    "exp-over-a-float": saying('{"sub":"alice","exp":1e400}'),
    "exp-of-400-digits": saying('{"sub":"alice","exp":' + "9" * 400 + "}"),
    "exp-of-5000-digits": saying('{"sub":"alice","exp":' + "9" * 5_000 + "}"),
    "exp-no-number": saying('{"sub":"alice","exp":NaN}'),
    "iat-text": signed({**GOOD, "iat": "now"}),
    "iat-true": signed({**GOOD, "iat": True}),
    "iat-null": signed({**GOOD, "iat": None}),
    "iat-over-a-float": saying('{"sub":"alice","exp":9e9,"iat":-1e400}'),
    "nbf-text": signed({**GOOD, "nbf": "now"}),
    "sub-number": signed({**GOOD, "sub": 7}),
    "sub-no-name": signed({**GOOD, "sub": "alice smith"}),
    "sub-line-end": signed({**GOOD, "sub": "alice\n"}),
    "claims-no-object": saying('["sub","exp"]'),
    "claims-no-json": saying("{"),
    "claims-deep": saying("[" * 5_000),
    "not-signed": "eyJhbGciOiJub25lIn0.eyJzdWIiOiJhbGljZSIsImV4cCI6OTk5OTk5OTk5OX0.",
    "none-but-signed": headed('{"alg":"none"}'),
    "another-case": headed('{"alg":"hs256"}'),
    "no-alg": headed("{}"),
    "alg-list": headed('{"alg":["HS256"]}'),
    "alg-null": headed('{"alg":null}'),
    "header-list": headed('["alg","crit","b64"]'),
    "header-text": headed('"alg"'),
    "header-number": headed("7"),
    "header-deep": headed("[" * 1_500),
    "header-huge": headed('{"alg":"HS256","more":"' + "x" * 2_048 + '"}'),
    "typ-number": headed('{"alg":"HS256","typ":7}'),
    "kid-number": headed('{"alg":"HS256","kid":7}'),
    "crit-unknown": headed('{"alg":"HS256","crit":["exp"],"exp":1}'),
    "crit-known": headed('{"alg":"HS256","crit":["kid"],"kid":"k"}'),
    "crit-empty": headed('{"alg":"HS256","crit":[]}'),
    "crit-number": headed('{"alg":"HS256","crit":7}'),
    "crit-of-lists": headed('{"alg":"HS256","crit":[[]]}'),
    "crit-b64": headed('{"alg":"HS256","crit":["b64"],"b64":false}'),
    "es256": jwt.encode({"alg": "ES256"}, GOOD, ECKey.generate_key()),
    "hs512": jwt.encode(
        {"alg": "HS512"}, GOOD, OctKey.import_key(SECRET), algorithms=["HS512"]
    ),
    "encrypted": jwe.encrypt_compact(
        {"alg": "dir", "enc": "A128CBC-HS256"}, b"{}", OctKey.import_key(SECRET)
    ),
    "ticket": ticket(),
}


@pytest.mark.parametrize("token", REFUSED.values(), ids=REFUSED)
async def test_token_that_proves_nothing_is_401_and_not_repeated(token):
    """Every defect of a token is refused the same way, and no token is printed."""
    for proofs in (bearer(token), Credentials(cookie=token)):
        problem = await refused(proofs)

        assert 401 == problem.status
        assert not token or token not in f"{problem!r}{proofs!r}"
        assert problem.__suppress_context__ or problem.__context__ is None


BELIEVED = {
    "iat-of-this-very-moment": {"iat": NOW},
    "iat-a-little-ahead": {"iat": NOW + 60},
    "iat-whole": {"iat": 1_000_000},
    "iat-long-ago": {"iat": 0},
    "nbf-a-little-ahead": {"nbf": NOW + 60},
    "exp-whole": {"exp": 1_000_001},
    "exp-in-a-moment": {"exp": NOW + 0.125},
    "foreign-claims": {"aud": "any", "iss": 7, "jti": 7},
}


@pytest.mark.parametrize("claims", BELIEVED.values(), ids=BELIEVED)
async def test_token_is_believed_for_what_it_says(claims):
    """Times may have fractions, and clocks may differ by a minute, but for `exp`."""
    user = await gate().user(bearer(signed({**GOOD, **claims})))

    told = {**GOOD, "iat": 0, **claims}
    assert User(name="alice", expires_at=told["exp"], issued_at=told["iat"]) == user


async def test_header_may_say_more_than_is_understood():
    """What a header says besides is ignored (RFC 7515 4)."""
    token = signed(GOOD, kid="any")
    more = headed('{"alg":"HS256","cat":"any","jku":"https://evil.example/"}')

    assert "alice" == (await gate().user(bearer(token))).name
    assert "alice" == (await gate().user(bearer(more))).name


async def test_token_proves_its_user_until_it_expires():
    """What is signed here is believed here, and tells when it was signed."""
    token = gate().sign("alice", ttl=60)
    alice = {"name": "alice", "expires_at": NOW + 60, "issued_at": NOW}

    assert User(**alice) == await gate().user(bearer(token))
    assert User(**alice, by_cookie=True) == await gate().user(Credentials(cookie=token))


async def test_ticket_proves_its_user_until_the_proof_behind_it_is_over():
    """A ticket stands for the proof that it was issued for."""
    user = await gate().user(Credentials(ticket=ticket()))

    assert "alice" == user.name
    assert NOW + 100 == user.expires_at
    assert NOW - 1 == user.issued_at
    assert not user.by_cookie
    assert user.ticket is not None
    assert user.ticket.resume_key not in repr(user)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "nonsense",
        ticket(keys=("three",)),
        ticket(holds_until=NOW),
        signed(GOOD),
        signed({**GOOD, "more": "x" * MAX_CREDENTIAL}),
    ],
    ids=["nothing", "nonsense", "foreign", "over", "token", "huge"],
)
async def test_ticket_that_is_none_is_401(text):
    """A stream is not opened by what was not issued for it."""
    problem = await refused(Credentials(ticket=text))

    assert 401 == problem.status
    assert not text or text not in repr(problem)


async def test_tokens_and_tickets_are_not_each_other_even_by_the_same_secret():
    """A site that uses one secret for both has not made them the same thing."""
    careless = gate(
        producer_keys=(SECRET,),
        tickets=Tickets(producer_keys=(SECRET,), clock=lambda: NOW),
    )
    token = careless.sign("alice", ttl=60)
    its_ticket = ticket(keys=(SECRET,))

    assert "alice" == (await careless.user(bearer(token))).name
    assert "alice" == (await careless.user(Credentials(ticket=its_ticket))).name
    for proofs in (
        bearer(its_ticket),
        Credentials(cookie=its_ticket),
        Credentials(ticket=token),
        Credentials(ticket=SECRET),
    ):
        assert 401 == (await refused(proofs, careless)).status


@pytest.mark.parametrize(("number", "key"), list(enumerate(KEYS, 1)))
async def test_each_key_proves_a_producer(number, key):
    """Keys are rotated by having two for a while."""
    proofs = Credentials(authorization=f"bearer {key}")

    assert Producer(number) == await gate().producer(proofs)
    assert Producer(number) == await gate().caller(proofs)


@pytest.mark.parametrize(
    "header",
    ["Basic b25l", "Bearer", "Bearer ", "Bearer  ", "one", "", "Bearer \ud800"],
)
async def test_header_that_is_no_bearer_is_401(header):
    """Another scheme proves nothing, and neither does what is not a key."""
    problem = await refused(Credentials(authorization=header))

    assert 401 == problem.status
    assert {"WWW-Authenticate": "Bearer"} == problem.headers


async def test_nobody_is_anonymous():
    """A request without a proof is not let through as somebody."""
    for call in (gate().user, gate().producer, gate().caller):
        with pytest.raises(Problem) as problem:
            await call(Credentials())

        assert 401 == problem.value.status


async def test_wrong_role_is_403():
    """A good proof of the other role is told from a bad one."""
    with pytest.raises(Problem) as problem:
        await gate().producer(bearer(signed(GOOD)))

    assert 403 == problem.value.status
    assert 403 == (await refused(bearer("one"))).status


@pytest.mark.parametrize("claim", ["audience", "issuer"])
async def test_audience_and_issuer_are_checked_where_they_are_set(claim):
    """A token for somebody else's service is not one for this."""
    mine, other = gate(**{claim: "me"}), gate(**{claim: "you"})

    assert "alice" == (await mine.user(bearer(mine.sign("alice", ttl=9)))).name
    for token in (other.sign("alice", ttl=9), gate().sign("alice", ttl=9)):
        assert 401 == (await refused(bearer(token), mine)).status


@pytest.mark.parametrize(
    ("audience", "status"),
    [("me", 200), (["you", "me"], 200), ([], 401), (["you", ["me"]], 401), (7, 401)],
)
async def test_token_may_be_for_many_audiences(audience, status):
    """One of several is enough (RFC 7519 4.1.3)."""
    proofs = bearer(signed({**GOOD, "aud": audience}))
    mine = gate(audience="me")

    if status == 200:
        assert "alice" == (await mine.user(proofs)).name
    else:
        assert status == (await refused(proofs, mine)).status


BAD, ALICE, BOB = "nonsense", signed(GOOD), signed({**GOOD, "sub": "bob"})
ORDER = {
    "bearer-before-cookie": (f"Bearer {ALICE}", BOB, None, "alice"),
    "bearer-before-ticket": (f"Bearer {BOB}", None, ticket(), "bob"),
    "cookie-before-ticket": (None, BOB, ticket(), "bob"),
    "all": (f"Bearer {BOB}", ALICE, ticket(), "bob"),
    "bad-bearer": (f"Bearer {BAD}", ALICE, ticket(), 401),
    "bad-cookie": (f"Bearer {ALICE}", BAD, ticket(), 401),
    "empty-cookie": (f"Bearer {ALICE}", "", None, 401),
    "bad-ticket": (f"Bearer {ALICE}", BOB, BAD, 401),
    "producer-with-bad-cookie": ("Bearer one", BAD, None, 401),
    "producer-with-bad-ticket": ("Bearer one", None, BAD, 401),
    "producer-with-ticket": ("Bearer one", None, ticket(), 403),
    "producer-with-cookie": ("Bearer one", ALICE, None, 403),
}


@pytest.mark.parametrize(
    ("authorization", "cookie", "given_ticket", "expected"), ORDER.values(), ids=ORDER
)
async def test_first_proof_names_the_caller_if_all_are_good(
    authorization, cookie, given_ticket, expected
):
    """What was presented on purpose comes first, and nothing makes up for a bad one."""
    proofs = Credentials(
        authorization=authorization, cookie=cookie, ticket=given_ticket
    )

    if isinstance(expected, int):
        assert expected == (await refused(proofs)).status
    else:
        assert expected == (await gate().user(proofs)).name


@pytest.mark.parametrize("kind", ["bearer", "cookie", "ticket", "authorization"])
@pytest.mark.slow
@settings(deadline=None, max_examples=50)
@given(
    text=st.text()
    | st.lists(st.binary(max_size=40).map(coded), max_size=5).map(".".join)
    | st.recursive(
        st.none() | st.booleans() | st.floats() | st.text(max_size=9),
        lambda some: st.lists(some) | st.dictionaries(st.text(max_size=9), some),
    ).map(lambda some: headed(json.dumps(some)))
    | st.dictionaries(
        st.sampled_from(["alg", "kid", "crit", "b64", "typ", "jwk", "x5c", "jku"]),
        st.none() | st.just("HS256") | st.just(["b64"]) | st.booleans(),
    ).map(lambda some: by_hand(json.dumps(some), "{}"))
)
async def test_whatever_is_presented_is_a_401_at_the_worst(kind, text):
    """No text gets anything out of the gate but a problem, or an identity."""
    proofs = bearer(text) if kind == "bearer" else Credentials(**{kind: text})

    assert 401 == (await refused(proofs)).status


def test_secret_that_is_none_is_refused_at_the_start():
    """A short one can be guessed, and anybody can have a public key."""
    public = ECKey.generate_key().as_pem(private=False).decode()
    for text in ("", "x" * 31, public):
        with pytest.raises(ValueError, match=r"expected a secret|public key") as error:
            HmacKey(text)

        assert not text or text not in str(error.value)


def test_only_a_secret_signs():
    """Where tokens are verified by published keys, others have the private ones."""
    with pytest.raises(ValueError, match="ROUNDEL_JWKS"):
        gate(keys=JwkSet("keys.json")).sign("alice", ttl=9)


def test_gate_prints_no_secret():
    """A gate in a log line or a traceback tells nothing."""
    some = gate()

    assert SECRET not in f"{some!r}{some.keys!r}{Credentials(cookie=SECRET)!r}"
