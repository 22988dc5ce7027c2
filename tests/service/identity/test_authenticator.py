"""The authenticator: which credentials are valid, and for which caller."""

from __future__ import annotations

import base64
import hashlib
import hmac
import json

import attrs
import pytest
import trio
from hypothesis import given, settings
from hypothesis import strategies as st
from joserfc import jwe, jwt
from joserfc.jwk import ECKey, OctKey

from roundel_service.identity.authenticator import (
    MAX_CREDENTIAL,
    Authenticator,
    _latest_time,
)
from roundel_service.identity.callers import Credentials, Producer
from roundel_service.identity.errors import InvalidCredentials, WrongRole
from roundel_service.identity.hmac_key import HmacKey
from roundel_service.identity.jwks import JwksClient
from roundel_service.identity.tickets import Tickets

NOW = 1_000_000.25
SECRET = "0123456789abcdef0123456789abcdef"
KEYS = ("one", "two")
TICKET_SECRET = b"the random secret of the store, long"


def secret_source(secret: bytes):
    async def read() -> bytes:
        return secret

    return read


def make_authenticator(secret: str = SECRET, **changes) -> Authenticator:
    made = {
        "producer_keys": KEYS,
        "keys": HmacKey((secret,)),
        "clock": lambda: NOW,
        "ticket_secret": secret_source(TICKET_SECRET),
        **changes,
    }
    return Authenticator(**made)


def bearer(credential: str) -> Credentials:
    return Credentials(authorization=(f"Bearer {credential}",))


def signed(claims, secret=SECRET, **header) -> str:
    return jwt.encode({"alg": "HS256", **header}, claims, OctKey.import_key(secret))


def coded(part: bytes) -> str:
    return base64.urlsafe_b64encode(part).decode().rstrip("=")


def sign_text(header: str, claims: str, secret: str = SECRET) -> str:
    """Sign any text as header and claims, also what a library refuses to sign."""
    message = f"{coded(header.encode())}.{coded(claims.encode())}"
    mac = hmac.digest(secret.encode(), message.encode(), hashlib.sha256)
    return f"{message}.{coded(mac)}"


def with_claims(claims: str) -> str:
    return sign_text('{"alg":"HS256"}', claims)


def with_header(header: str) -> str:
    return sign_text(header, json.dumps(GOOD))


async def ticket(
    *, expires_at: float = NOW + 100, secret: bytes = TICKET_SECRET
) -> str:
    some = Tickets(secret=secret_source(secret), clock=lambda: NOW)
    return await some.issue("alice", expires_at=expires_at, issued_at=NOW - 1)


TICKET = trio.run(ticket)


async def refused(
    credentials: Credentials, authenticator: Authenticator | None = None
) -> InvalidCredentials | WrongRole:
    """Return the error that these credentials cause."""
    with pytest.raises((InvalidCredentials, WrongRole)) as error:
        await (authenticator or make_authenticator()).user(credentials)
    return error.value


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
    "exp-infinite": with_claims('{"sub":"alice","exp":Infinity}'),
    "exp-over-a-float": with_claims('{"sub":"alice","exp":1e400}'),
    "exp-of-400-digits": with_claims('{"sub":"alice","exp":' + "9" * 400 + "}"),
    "exp-of-5000-digits": with_claims('{"sub":"alice","exp":' + "9" * 5_000 + "}"),
    "exp-no-number": with_claims('{"sub":"alice","exp":NaN}'),
    "iat-text": signed({**GOOD, "iat": "now"}),
    "iat-true": signed({**GOOD, "iat": True}),
    "iat-null": signed({**GOOD, "iat": None}),
    "iat-over-a-float": with_claims('{"sub":"alice","exp":9e9,"iat":-1e400}'),
    "nbf-text": signed({**GOOD, "nbf": "now"}),
    "sub-number": signed({**GOOD, "sub": 7}),
    "sub-no-name": signed({**GOOD, "sub": " alice"}),
    "sub-line-end": signed({**GOOD, "sub": "alice\n"}),
    "claims-no-object": with_claims('["sub","exp"]'),
    "claims-no-json": with_claims("{"),
    "claims-deep": with_claims("[" * 5_000),
    "not-signed": "eyJhbGciOiJub25lIn0.eyJzdWIiOiJhbGljZSIsImV4cCI6OTk5OTk5OTk5OX0.",
    "none-but-signed": with_header('{"alg":"none"}'),
    "another-case": with_header('{"alg":"hs256"}'),
    "rs256": with_header('{"alg":"RS256"}'),
    "no-alg": with_header("{}"),
    "alg-list": with_header('{"alg":["HS256"]}'),
    "alg-null": with_header('{"alg":null}'),
    "header-list": with_header('["alg","crit","b64"]'),
    "header-text": with_header('"alg"'),
    "header-number": with_header("7"),
    "header-deep": with_header("[" * 1_500),
    "header-huge": with_header('{"alg":"HS256","more":"' + "x" * 2_048 + '"}'),
    "typ-number": with_header('{"alg":"HS256","typ":7}'),
    "kid-number": with_header('{"alg":"HS256","kid":7}'),
    "crit-unknown": with_header('{"alg":"HS256","crit":["exp"],"exp":1}'),
    "crit-known": with_header('{"alg":"HS256","crit":["kid"],"kid":"k"}'),
    "crit-empty": with_header('{"alg":"HS256","crit":[]}'),
    "crit-number": with_header('{"alg":"HS256","crit":7}'),
    "crit-of-lists": with_header('{"alg":"HS256","crit":[[]]}'),
    "crit-b64": with_header('{"alg":"HS256","crit":["b64"],"b64":false}'),
    "es256": jwt.encode({"alg": "ES256"}, GOOD, ECKey.generate_key()),
    "hs512": jwt.encode(
        {"alg": "HS512"}, GOOD, OctKey.import_key(SECRET), algorithms=["HS512"]
    ),
    "encrypted": jwe.encrypt_compact(
        {"alg": "dir", "enc": "A128CBC-HS256"}, b"{}", OctKey.import_key(SECRET)
    ),
    "ticket": TICKET,
}


@pytest.mark.parametrize("token", REFUSED.values(), ids=REFUSED)
async def test_invalid_token_is_refused_and_not_printed(token):
    """Each defect of a token has the same result, and no error quotes the token."""
    for credentials in (bearer(token), Credentials(cookies=(token,))):
        error = await refused(credentials)

        assert isinstance(error, InvalidCredentials)
        assert not token or token not in f"{error!r}{credentials!r}"
        assert error.__suppress_context__ or error.__context__ is None


VALID = {
    "iat-now": {"iat": NOW},
    "iat-within-the-clock-skew": {"iat": NOW + 60},
    "iat-whole": {"iat": 1_000_000},
    "iat-zero": {"iat": 0},
    "nbf-within-the-clock-skew": {"nbf": NOW + 60},
    "exp-whole": {"exp": 1_000_001},
    "exp-in-an-eighth": {"exp": NOW + 0.125},
    "foreign-claims": {"aud": "any", "iss": 7, "jti": 7},
}


@pytest.mark.parametrize("claims", VALID.values(), ids=VALID)
async def test_valid_token_identifies_its_user(claims):
    """Times may have fractions; `iat` and `nbf` may be 60 s ahead, but not `exp`."""
    user = await make_authenticator().user(bearer(signed({**GOOD, **claims})))

    expected = {**GOOD, **claims}
    assert ("alice", expected["exp"]) == (user.name, user.expires_at)


FRACTIONS = [NOW, NOW - 9.75, 999_999.5, 1.5, -2.25, 987_654.321, 0.001]


@pytest.mark.parametrize("iat", [*FRACTIONS, *(n / 1_000 for n in range(1, 999, 7))])
async def test_time_of_issue_is_the_end_of_its_millisecond(iat):
    """An issuer may write milliseconds; the token is older than the next one."""
    user = await make_authenticator().user(bearer(signed({**GOOD, "iat": iat})))

    assert iat + 0.000_999 < user.issued_at < iat + 0.001_001


@pytest.mark.parametrize("millisecond", [0, 1, 122, 123, 124, 500, 999])
def test_milliseconds_of_today_are_exact(millisecond):
    """No rounding of a float moves a time into another millisecond."""
    for second in range(1_763_690_000, 1_763_690_400):
        iat = float(f"{second}.{millisecond:03}1")

        assert iat < _latest_time(iat) < iat + 0.001


@pytest.mark.parametrize("iat", [1_000_000, 1_000_000.0, 999_999, 0, -3, None])
async def test_whole_second_of_issue_is_its_end(iat):
    """The token is older than the next second, and newer than all times in its own."""
    claims = GOOD if iat is None else {**GOOD, "iat": iat}
    issued_at = (await make_authenticator().user(bearer(signed(claims)))).issued_at

    assert (iat or 0) + 0.999_999 < issued_at < (iat or 0) + 1


async def test_unknown_header_parameters_are_ignored():
    """Header parameters without `crit` change nothing (RFC 7515 4)."""
    token = signed(GOOD, kid="any")
    more = with_header('{"alg":"HS256","cat":"any","jku":"https://evil.example/"}')

    assert "alice" == (await make_authenticator().user(bearer(token))).name
    assert "alice" == (await make_authenticator().user(bearer(more))).name


async def test_signed_token_is_valid_until_it_expires():
    """`sign()` makes tokens that `user()` accepts, with their time of issue."""
    token = make_authenticator().sign("alice", ttl=60)
    by_header = await make_authenticator().user(bearer(token))
    by_cookie = await make_authenticator().user(Credentials(cookies=(token,)))

    assert ("alice", NOW + 60) == (by_header.name, by_header.expires_at)
    assert NOW <= by_header.issued_at < NOW + 0.001
    assert attrs.evolve(by_header, by_cookie=True) == by_cookie


async def test_ticket_has_the_times_of_the_credentials_behind_it():
    """A user with a ticket has the expiry and the time of issue of the ticket."""
    user = await make_authenticator().user(Credentials(ticket=await ticket()))

    assert ("alice", NOW + 100, NOW - 1) == (user.name, user.expires_at, user.issued_at)
    assert not user.by_cookie
    assert user.ticket is not None
    assert user.ticket.resume_key not in repr(user)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "nonsense",
        signed(GOOD),
        signed({**GOOD, "more": "x" * MAX_CREDENTIAL}),
    ],
    ids=["empty", "nonsense", "token", "too-long"],
)
async def test_invalid_ticket_is_refused_and_not_printed(text):
    """A text that is not a valid ticket opens no stream."""
    error = await refused(Credentials(ticket=text))

    assert isinstance(error, InvalidCredentials)
    assert not text or text not in repr(error)


@pytest.mark.parametrize(
    "changes", [{"secret": b"another" * 5}, {"expires_at": NOW}], ids=str
)
async def test_foreign_and_expired_tickets_are_refused(changes):
    """A ticket is valid in its own store and until its credentials expire."""
    text = await ticket(**changes)
    error = await refused(Credentials(ticket=text))

    assert isinstance(error, InvalidCredentials)
    assert text not in repr(error)


async def test_token_and_ticket_differ_even_with_one_secret():
    """With one secret for tokens, tickets and producers, none passes as another."""
    store = SECRET.encode()
    authenticator = make_authenticator(
        producer_keys=(SECRET,), ticket_secret=secret_source(store)
    )
    token = authenticator.sign("alice", ttl=60)
    its_ticket = await ticket(secret=store)

    assert "alice" == (await authenticator.user(bearer(token))).name
    assert "alice" == (await authenticator.user(Credentials(ticket=its_ticket))).name
    for credentials in (
        bearer(its_ticket),
        Credentials(cookies=(its_ticket,)),
        Credentials(ticket=token),
        Credentials(ticket=SECRET),
    ):
        error = await refused(credentials, authenticator)

        assert isinstance(error, InvalidCredentials)


@pytest.mark.parametrize("scheme", ["Bearer ", "bearer ", "BEARER ", "Bearer   "])
@pytest.mark.parametrize(("number", "key"), list(enumerate(KEYS, 1)))
async def test_each_producer_key_is_valid(scheme, number, key):
    """Keys can be rotated; the scheme has any case (RFC 9110 11.1)."""
    credentials = Credentials(authorization=(f"{scheme}{key} ",))

    assert Producer(number) == await make_authenticator().producer(credentials)
    assert Producer(number) == await make_authenticator().caller(credentials)


BAD_HEADERS = {
    "basic": "Basic b25l",
    "scheme-alone": "Bearer",
    "one-space": "Bearer ",
    "two-spaces": "Bearer  ",
    "key-alone": "one",
    "empty": "",
    "surrogate": "Bearer \ud800",
    "prefix-of-key": "Bearer on",
    "longer-than-key": "Bearer onex",
    "other-case": "Bearer ONE",
    "both-keys": "Bearer one,two",
    "not-ascii": "Bearer cl\xe9",
    "long": f"Bearer {'one' * 1_000}",
}


@pytest.mark.parametrize("header", BAD_HEADERS.values(), ids=BAD_HEADERS)
async def test_authorization_without_a_valid_credential_is_refused(header):
    """Another scheme is no credential, and producer keys are compared whole."""
    assert isinstance(
        await refused(Credentials(authorization=(header,))), InvalidCredentials
    )


async def test_wrong_producer_key_is_refused_in_plain_words():
    """A key of another service has no message about tokens that it is not."""
    with pytest.raises(InvalidCredentials, match="no producer key of this service"):
        await make_authenticator().caller(Credentials(authorization=("Bearer three",)))


async def test_request_without_credentials_is_refused():
    """There is no anonymous caller."""
    authenticator = make_authenticator()
    for call in (authenticator.user, authenticator.producer, authenticator.caller):
        with pytest.raises(InvalidCredentials, match="expected Authorization"):
            await call(Credentials())


async def test_credentials_of_the_other_role_are_the_wrong_role():
    """A valid credential of the wrong role differs from an invalid one."""
    with pytest.raises(WrongRole):
        await make_authenticator().producer(bearer(signed(GOOD)))

    assert isinstance(await refused(bearer("one")), WrongRole)


@pytest.mark.parametrize("claim", ["audiences", "issuers"])
async def test_audience_and_issuer_are_checked_where_they_are_set(claim):
    """A token with another audience or issuer, or without one, is refused."""
    mine, other = (
        make_authenticator(**{claim: ("me",)}),
        make_authenticator(**{claim: ("you",)}),
    )

    assert "alice" == (await mine.user(bearer(mine.sign("alice", ttl=9)))).name
    for token in (
        other.sign("alice", ttl=9),
        make_authenticator().sign("alice", ttl=9),
    ):
        assert isinstance(await refused(bearer(token), mine), InvalidCredentials)


@pytest.mark.parametrize("audience", ["me", ["you", "me"]])
async def test_one_of_several_audiences_is_enough(audience):
    """`aud` is a text or a list (RFC 7519 4.1.3)."""
    token = signed({**GOOD, "aud": audience})

    assert (
        "alice"
        == (await make_authenticator(audiences=("me",)).user(bearer(token))).name
    )


@pytest.mark.parametrize("audience", [[], ["you", ["me"]], 7])
async def test_other_audiences_are_refused(audience):
    """A list without the audience, and a value that is no text, do not match."""
    credentials = bearer(signed({**GOOD, "aud": audience}))
    error = await refused(credentials, make_authenticator(audiences=("me",)))

    assert isinstance(error, InvalidCredentials)


BAD, ALICE, BOB = "nonsense", signed(GOOD), signed({**GOOD, "sub": "bob"})
OLD, LATER = signed({**GOOD, "exp": NOW - 1}), signed({**GOOD, "iat": NOW})
ORDER = {
    "bearer-before-cookie": ([f"Bearer {ALICE}"], [BOB], None, "alice"),
    "ticket-before-bearer": ([f"Bearer {BOB}"], [], TICKET, "alice"),
    "ticket-before-cookie": ([], [BOB], TICKET, "alice"),
    "ticket-before-all": ([f"Bearer {BOB}"], [BOB], TICKET, "alice"),
    "ticket-with-bad-ones": ([f"Bearer {BAD}"], [BAD], TICKET, "alice"),
    "ticket-with-two-bearers": ([f"Bearer {BOB}"] * 2, [], TICKET, "alice"),
    "bad-ticket": ([f"Bearer {ALICE}"], [BOB], BAD, InvalidCredentials),
    "empty-ticket": ([f"Bearer {ALICE}"], [BOB], "", InvalidCredentials),
    "bad-bearer": ([f"Bearer {BAD}"], [ALICE], None, InvalidCredentials),
    "expired-bearer": ([f"Bearer {OLD}"], [ALICE], None, InvalidCredentials),
    "no-bearer": (["Bearer"], [ALICE], None, InvalidCredentials),
    "bad-cookie": ([f"Bearer {ALICE}"], [BAD], None, "alice"),
    "two-bearers": ([f"Bearer {ALICE}"] * 2, [], None, InvalidCredentials),
    "basic-before-bearer": (["Basic eA==", f"bearer {ALICE}"], [], None, "alice"),
    "bearer-before-basic": ([f"Bearer  {ALICE}", "Basic eA=="], [BOB], None, "alice"),
    "basic": (["Basic eA=="], [ALICE], None, "alice"),
    "digest": (['Digest username="alice", realm="x"'], [ALICE], None, "alice"),
    "token-alone": ([ALICE], [BOB], None, "bob"),
    "empty": ([""], [ALICE], None, "alice"),
    "no-cookie-after-basic": (["Basic eA=="], [], None, InvalidCredentials),
    "producer-with-bad-cookie": (["Bearer one"], [BAD], None, WrongRole),
    "producer-with-cookie": (["Bearer one"], [ALICE], None, WrongRole),
    "producer-with-ticket": (["Bearer one"], [], TICKET, "alice"),
    "empty-cookie": ([], [""], None, InvalidCredentials),
    "equal-cookies": ([], [ALICE] * 40, None, "alice"),
    "cookies-of-one-user": ([], [ALICE, LATER], None, "alice"),
    "cookie-with-a-bad-one": ([], [BAD, "", ALICE, OLD], None, "alice"),
    "bad-cookies": ([], [BAD, OLD], None, InvalidCredentials),
    "cookies-of-two-users": ([], [ALICE, BOB], None, InvalidCredentials),
    "eight-cookies": ([], [ALICE, *"1234567"], None, "alice"),
    "nine-cookies": ([], [ALICE, *"12345678"], None, InvalidCredentials),
}


@pytest.mark.parametrize(
    ("authorization", "cookies", "given_ticket", "expected"), ORDER.values(), ids=ORDER
)
async def test_most_explicit_credential_decides(
    authorization, cookies, given_ticket, expected
):
    """Ticket, Bearer, cookie: the first one decides, also if it is invalid."""
    credentials = Credentials(
        authorization=tuple(authorization), cookies=tuple(cookies), ticket=given_ticket
    )

    if isinstance(expected, str):
        assert expected == (await make_authenticator().user(credentials)).name
    else:
        assert isinstance(await refused(credentials), expected)


@pytest.mark.parametrize("cookies", [(ALICE, LATER), (LATER, ALICE)])
async def test_latest_of_several_cookies_counts(cookies):
    """The user has the times of the latest login, whose cookie may come last."""
    user = await make_authenticator().user(Credentials(cookies=cookies))

    assert user.by_cookie
    assert NOW <= user.issued_at < NOW + 0.001


@pytest.mark.parametrize("kind", ["bearer", "cookies", "ticket", "authorization"])
@pytest.mark.slow
@settings(deadline=None, max_examples=50)
@given(
    text=st.text()
    | st.lists(st.binary(max_size=40).map(coded), max_size=5).map(".".join)
    | st.recursive(
        st.none() | st.booleans() | st.floats() | st.text(max_size=9),
        lambda some: st.lists(some) | st.dictionaries(st.text(max_size=9), some),
    ).map(lambda some: with_header(json.dumps(some)))
    | st.dictionaries(
        st.sampled_from(["alg", "kid", "crit", "b64", "typ", "jwk", "x5c", "jku"]),
        st.none() | st.just("HS256") | st.just(["b64"]) | st.booleans(),
    ).map(lambda some: sign_text(json.dumps(some), "{}"))
)
async def test_any_text_is_refused_without_another_error(kind, text):
    """No credential causes an error other than `InvalidCredentials`."""
    values = {"cookies": (text,), "authorization": (text,), "ticket": text}
    credentials = (
        bearer(text) if kind == "bearer" else Credentials(**{kind: values[kind]})
    )

    assert isinstance(await refused(credentials), InvalidCredentials)


def test_unfit_secret_is_refused_at_the_start():
    """A short secret can be guessed, and a public key is not secret."""
    public = ECKey.generate_key().as_pem(private=False).decode()
    for text in ("", "x" * 31, public):
        with pytest.raises(
            ValueError, match="expected secrets of 32 or more bytes"
        ) as error:
            HmacKey((SECRET, text))

        assert not text or text not in str(error.value)


def test_published_keys_sign_no_token():
    """A JWK set has only public keys, so `sign()` fails."""
    with pytest.raises(ValueError, match="ROUNDEL_JWKS"):
        make_authenticator(keys=JwksClient("keys.json")).sign("alice", ttl=9)


def test_authenticator_prints_no_secret():
    """The `repr` of an authenticator or of credentials shows no secret."""
    authenticator = make_authenticator()
    shown = f"{authenticator!r}{authenticator.keys!r}{Credentials(cookies=(SECRET,))!r}"

    assert SECRET not in shown
