"""Published keys: which are believed, for what, and how long."""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
from functools import cache

import attrs
import pytest
import trio
from hypothesis import given, settings
from hypothesis import strategies as st
from joserfc.jwk import ECKey, Key, OctKey, OKPKey, RSAKey
from joserfc.jws import JWSRegistry, serialize_compact

from roundel_service.http.problems import Problem
from roundel_service.identity import jwk_set as key_set
from roundel_service.identity import jwks
from roundel_service.identity import jwks_fetch as key_source
from roundel_service.identity.authenticator import Authenticator, Credentials
from roundel_service.identity.jwks import JwkSet, check_source
from roundel_service.identity.tickets import Tickets

START = 1_763_690_000.0


def clock() -> float:
    """Seconds since 1970, on the tests' own time."""
    return START + trio.current_time()


@cache
def key(kind: str) -> Key:
    """Make a key of this kind, once; the kind is its kid as well."""
    family, _, which = kind.partition("/")
    made = {"kid": kind}
    if family == "RSA":
        return RSAKey.generate_key(2048, made)
    if family == "EC":
        return ECKey.generate_key(which.removesuffix("/new"), made)
    if family == "OKP":
        return OKPKey.generate_key(which, made)
    return OctKey.generate_key(256, made)


RSA, EC, NEW, OKP = "RSA", "EC/P-256", "EC/P-256/new", "OKP/Ed25519"


def changed(members: dict, changes: dict) -> dict:
    """Return *members* with some changed; what becomes `None` is left out."""
    every = {**members, **changes}
    return {name: value for name, value in every.items() if value is not None}


def jwk(kind: str, **changes) -> dict:
    return changed(key(kind).as_dict(private=False), changes)


def jwk_set(*keys: str | dict) -> bytes:
    members = [jwk(each) if isinstance(each, str) else each for each in keys]
    return json.dumps({"keys": members}).encode()


CLAIMS = json.dumps({"sub": "alice", "exp": START + 86_400}).encode()


def signed(alg: str, kind: str, claims: bytes = CLAIMS, **header) -> str:
    """Return a token, of alice if nothing else is said."""
    rules = JWSRegistry(algorithms=[alg])
    # By its old name the library warns of its age.
    rules.algorithms = {**rules.algorithms, "EdDSA": rules.algorithms["Ed25519"]}
    named = changed({"alg": alg, "kid": kind}, header)
    return serialize_compact(named, claims, key(kind), registry=rules)


def coded(part: bytes) -> str:
    return base64.urlsafe_b64encode(part).decode().rstrip("=")


def with_header(header: str) -> str:
    """Return a good token with another header."""
    return f"{coded(header.encode())}.{signed('ES256', EC).partition('.')[2]}"


def with_signature(signature: str) -> str:
    return f"{signed('ES256', EC).rpartition('.')[0]}.{signature}"


def confused(secret: bytes, **header) -> str:
    """Return a token signed with what everybody knows of a published key."""
    head = json.dumps({"alg": "HS256", **header}).encode()
    message = f"{coded(head)}.{coded(CLAIMS)}"
    return f"{message}.{coded(hmac.digest(secret, message.encode(), hashlib.sha256))}"


async def seen(keys: JwkSet, token: str) -> str | int:
    """Return the user whom this token proves, or the status of its refusal."""
    tickets = Tickets(producer_keys=("one",), clock=clock)
    gate = Authenticator(
        producer_keys=("one",), keys=keys, tickets=tickets, clock=clock
    )
    try:
        return (await gate.user(Credentials(cookie=token))).name
    except Problem as problem:
        return problem.status


@pytest.fixture
def path(tmp_path):
    """Keep a set of one key in a file."""
    made = tmp_path / "keys.json"
    made.write_bytes(jwk_set(EC))
    return made


@pytest.fixture
def run(nursery):
    """Have a set read until the end of the test."""

    async def start(source, **changes) -> JwkSet:
        keys = JwkSet(str(source), clock=clock, **changes)
        await nursery.start(keys.run)
        return keys

    return start


def http(body: bytes, status: str = "200 OK", *headers: str) -> bytes:
    lines = [f"HTTP/1.1 {status}", f"Content-Length: {len(body)}", *headers, "", ""]
    return "\r\n".join(lines).encode() + body


@attrs.define
class Publisher:
    """An issuer's server on loopback, which answers what it is given to say."""

    socket: trio.socket.SocketType = attrs.field(factory=trio.socket.socket)
    answer: bytes = b""
    delay: float = 0
    requests: list[bytes] = attrs.field(factory=list)

    @property
    def url(self) -> str:
        host, port = self.socket.getsockname()
        return f"http://{host}:{port}/keys"

    async def serve(
        self, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED
    ) -> None:
        self.socket.listen()
        listener = trio.SocketListener(self.socket)
        await trio.serve_listeners(self._respond, [listener], task_status=task_status)

    async def _respond(self, stream: trio.SocketStream) -> None:
        async with stream:
            self.requests.append(await stream.receive_some())
            await trio.sleep(self.delay)
            await stream.send_all(self.answer)


@pytest.fixture
async def silent():
    """Have a port that refuses connections until somebody serves there."""
    publisher = Publisher(answer=http(jwk_set(EC)))
    await publisher.socket.bind(("127.0.0.1", 0))
    yield publisher
    publisher.socket.close()


@pytest.fixture
async def publisher(silent, nursery):
    """Serve a set of one key."""
    await nursery.start(silent.serve)
    return silent


FITTING = {
    "rs256": ("RS256", RSA),
    "es256": ("ES256", EC),
    "eddsa": ("EdDSA", OKP),
    "ed25519": ("Ed25519", OKP),
}


@pytest.mark.parametrize(("alg", "kind"), FITTING.values(), ids=FITTING)
@pytest.mark.parametrize("kid", ["its-kid", "no-kid"])
async def test_token_of_a_published_key_is_believed(
    autojump_clock, path, run, alg, kind, kid
):
    """Each algorithm works with a key of its type, found by name or by trying."""
    path.write_bytes(jwk_set(NEW, RSA, EC, OKP))
    keys = await run(path)
    token = signed(alg, kind) if kid == "its-kid" else signed(alg, kind, kid=None)

    assert "alice" == await seen(keys, token)


async def test_key_without_a_name_is_for_tokens_without_one(autojump_clock, path, run):
    """A set of one key needs no names, and a name that it lacks is unknown."""
    path.write_bytes(jwk_set(jwk(EC, kid=None)))
    keys = await run(path)

    assert "alice" == await seen(keys, signed("ES256", EC, kid=None))
    assert 401 == await seen(keys, signed("ES256", NEW, kid=None))
    assert 401 == await seen(keys, signed("ES256", EC))


REFUSED = {
    "nonsense": lambda: "nonsense",
    "not-ascii": lambda: "é",
    "not-signed": lambda: with_signature(""),
    "bad-signature": lambda: with_signature("A" * 86),
    "short-signature": lambda: with_signature("AAAA"),
    "signature-no-base64": lambda: with_signature("!"),
    "another-key-of-that-name": lambda: signed("ES256", NEW, kid=EC),
    "name-of-another-key": lambda: signed("ES256", EC, kid=RSA),
    "claims-no-object": lambda: signed("ES256", EC, b"[]"),
    "claims-no-json": lambda: signed("ES256", EC, b"{"),
    "claims-deep": lambda: signed("ES256", EC, b"[" * 5_000),
    "no-alg": lambda: with_header("{}"),
    "alg-none": lambda: with_header('{"alg":"none"}'),
    "alg-list": lambda: with_header('{"alg":["ES256"]}'),
    "kid-null": lambda: with_header('{"alg":"ES256","kid":null}'),
    "header-list": lambda: with_header('["alg","kid"]'),
    "header-deep": lambda: with_header("[" * 1_500),
    "crit": lambda: signed("ES256", EC, crit=["kid"]),
    "rs512": lambda: signed("RS512", RSA),
    "ps256": lambda: signed("PS256", RSA),
    "es384": lambda: signed("ES384", "EC/P-384", kid=None),
    "ed448": lambda: signed("Ed448", "OKP/Ed448", kid=None),
    "hs256-of-a-published-key": lambda: signed("HS256", "oct"),
    "hs256-of-the-pem": lambda: confused(key(RSA).as_pem(), kid=RSA),
    "hs256-of-the-der": lambda: confused(key(RSA).as_der(), kid=RSA),
    "hs256-of-the-jwk": lambda: confused(json.dumps(jwk(RSA)).encode(), kid=RSA),
    "hs256-of-nothing": lambda: confused(b""),
}


@pytest.mark.parametrize("token", REFUSED.values(), ids=REFUSED)
async def test_token_of_no_published_key_is_401(autojump_clock, path, run, token):
    """No header, and nothing that everybody knows, makes a token good."""
    secret = key("oct").as_dict(private=True)
    path.write_bytes(jwk_set(RSA, EC, OKP, "EC/P-384", "OKP/Ed448", secret))
    keys = await run(path)

    assert "alice" == await seen(keys, signed("ES256", EC))
    assert 401 == await seen(keys, token())


IGNORED = {
    "for-encryption": lambda: jwk(EC, use="enc"),
    "for-use-unknown": lambda: jwk(EC, use="more"),
    "not-to-verify": lambda: jwk(EC, key_ops=["sign"]),
    "for-another-algorithm": lambda: jwk(RSA, alg="PS256"),
    "for-the-algorithm-of-others": lambda: jwk(EC, alg="RS256"),
    "for-an-algorithm-unknown": lambda: jwk(EC, alg="ES1024"),
    "another-curve": lambda: jwk("EC/P-384"),
    "another-edwards-curve": lambda: jwk("OKP/Ed448"),
    "montgomery-curve": lambda: jwk("OKP/X25519"),
    "symmetric": lambda: key("oct").as_dict(private=True),
    "type-unknown": lambda: jwk(EC, kty="AKP"),
    "type-none": lambda: jwk(EC, kty=None),
    "short": lambda: jwk(RSA, n=coded(b"\x7f" + b"\xff" * 255)),
    "long": lambda: jwk(RSA, n=coded(b"\x01" + b"\xff" * 2_048)),
    "no-modulus": lambda: jwk(RSA, n=None),
    "no-exponent": lambda: jwk(RSA, e=None),
    "modulus-list": lambda: jwk(RSA, n=["x"]),
    "not-on-the-curve": lambda: jwk(EC, x=jwk(NEW)["x"]),
    "too-short-a-point": lambda: jwk(OKP, x="AAAA"),
    "no-base64": lambda: jwk(OKP, x="é"),
    "kid-number": lambda: jwk(EC, kid=7),
    "nothing": dict,
}


@pytest.mark.parametrize("other", IGNORED.values(), ids=IGNORED)
async def test_key_that_is_not_for_tokens_is_ignored_and_told(
    autojump_clock, path, run, caplog, other
):
    """One key that is not understood does not spoil the set (RFC 7517 5)."""
    other = other()
    path.write_bytes(jwk_set(NEW, other))
    keys = await run(path)
    kid = other.get("kid")

    assert (repr(kid) if isinstance(kid, str) else "without kid") in caplog.text
    assert "alice" == await seen(keys, signed("ES256", NEW))
    for alg, kind in FITTING.values():
        assert 401 == await seen(keys, signed(alg, kind))
        assert 401 == await seen(keys, signed(alg, kind, kid=None))


MEANT = {
    "use": (EC, {"use": "sig"}),
    "alg": (EC, {"alg": "ES256"}),
    "rsa-alg": (RSA, {"alg": "RS256"}),
    "old-name": (OKP, {"alg": "EdDSA"}),
    "new-name": (OKP, {"alg": "Ed25519"}),
    "ops": (EC, {"key_ops": ["verify"], "use": "sig"}),
    "no-ops": (EC, {"key_ops": []}),
    "certificate": (EC, {"x5t": "any", "x5c": 7, "more": {}}),
}


@pytest.mark.parametrize(("kind", "changes"), MEANT.values(), ids=MEANT)
async def test_key_may_say_what_it_is_for(
    autojump_clock, path, run, caplog, kind, changes
):
    """A key works under either name of its algorithm, whatever else it tells."""
    path.write_bytes(jwk_set(jwk(kind, **changes)))
    keys = await run(path)

    assert "" == caplog.text
    for alg, fits in FITTING.values():
        expected = "alice" if fits == kind else 401
        assert expected == await seen(keys, signed(alg, kind if fits == kind else fits))


async def test_private_half_of_a_key_is_left_where_it_is(autojump_clock, path, run):
    """Who publishes too much is understood, and what is secret is not kept."""
    path.write_bytes(jwk_set(key(EC).as_dict(private=True)))
    keys = await run(path)

    assert "alice" == await seen(keys, signed("ES256", EC))
    assert not any(found.key.is_private for found in keys._found.keys)


async def test_ignored_key_is_told_once(autojump_clock, path, run, caplog):
    """A set with keys for other things is not told of every five minutes."""
    path.write_bytes(jwk_set(EC, jwk(RSA, use="enc")))
    await run(path)
    await trio.sleep(3 * jwks.REFRESH + 1)

    assert 1 == caplog.text.count(repr(RSA))


async def test_keys_follow_the_file(autojump_clock, path, run):
    """A file is read again at each refresh; a key that is gone is believed no more."""
    keys = await run(path)
    path.write_bytes(jwk_set(NEW))

    assert "alice" == await seen(keys, signed("ES256", EC))
    await trio.sleep(jwks.REFRESH + 1)
    assert 401 == await seen(keys, signed("ES256", EC))
    assert "alice" == await seen(keys, signed("ES256", NEW))


async def test_token_is_verified_once_for_as_long_as_the_keys_stay(
    autojump_clock, path, run
):
    """What was verified is known, and forgotten when the set is read again."""
    keys = await run(path)
    token = signed("ES256", EC)
    assert ["alice"] * 3 == [await seen(keys, token) for _ in range(3)]
    path.write_bytes(jwk_set(NEW))
    await trio.sleep(jwks.REFRESH + 1)

    assert 401 == await seen(keys, token)
    assert "alice" == await seen(keys, signed("ES256", NEW))


async def test_new_key_works_at_once(autojump_clock, publisher, run):
    """A token with an unknown kid has the set read: a rotation refuses nobody."""
    keys = await run(publisher.url)
    assert "alice" == await seen(keys, signed("ES256", EC))
    publisher.answer = http(jwk_set(NEW))

    assert "alice" == await seen(keys, signed("ES256", NEW))
    assert 401 == await seen(keys, signed("ES256", EC))
    assert 2 == len(publisher.requests)


async def test_unknown_kids_have_the_set_read_every_ten_seconds_at_most(
    autojump_clock, publisher, run
):
    """Whoever makes up names of keys does not make us a burden to the issuer."""
    keys = await run(publisher.url)
    publisher.delay = 1
    async with trio.open_nursery() as nursery:
        for number in range(9):
            token = signed("ES256", EC, kid=f"made-up-{number}")
            nursery.start_soon(seen, keys, token)
    assert 1.0 == trio.current_time()
    assert 2 == len(publisher.requests)

    assert 401 == await seen(keys, signed("ES256", EC, kid="more"))
    assert 1.0 == trio.current_time()
    await trio.sleep(jwks.ASK_EVERY)
    assert 401 == await seen(keys, signed("ES256", EC, kid="more"))
    assert 3 == len(publisher.requests)


async def test_token_waits_five_seconds_for_its_key(autojump_clock, publisher, run):
    """An issuer that is slow now does not hold a request for long."""
    keys = await run(publisher.url)
    publisher.answer, publisher.delay = http(jwk_set(NEW)), 8

    assert 401 == await seen(keys, signed("ES256", NEW))
    assert jwks.REFRESH_TIMEOUT == trio.current_time()
    await trio.sleep(4)
    assert "alice" == await seen(keys, signed("ES256", NEW))


async def test_without_any_key_ever_it_is_503_until_there_is_one(
    autojump_clock, silent, nursery, run
):
    """An issuer that is away at the start stops neither the start nor what follows."""
    keys = await run(silent.url)
    token = signed("ES256", EC)

    assert not keys.is_loaded
    assert 503 == await seen(keys, token)
    assert 401 == await seen(keys, "nonsense")
    await nursery.start(silent.serve)
    await trio.sleep(jwks.ASK_EVERY)
    assert "alice" == await seen(keys, token)
    assert keys.is_loaded


async def test_without_any_key_it_is_said_when_to_come_back(autojump_clock):
    """The problem tells that the token is not to blame."""
    keys = JwkSet("keys.json")
    with pytest.raises(Problem) as problem:
        await keys.claims(signed("ES256", EC))

    assert 503 == problem.value.status
    assert "keys-unavailable" == problem.value.name
    assert {"Retry-After": "5"} == problem.value.headers


async def test_set_without_a_key_of_use_is_not_loaded(autojump_clock, path, run):
    """Nothing was ever there to verify with, and that is no token's fault."""
    path.write_bytes(jwk_set("EC/P-384"))
    keys = await run(path)

    assert not keys.is_loaded
    assert 503 == await seen(keys, signed("ES256", EC))


async def test_set_that_is_emptied_retires_all_keys(autojump_clock, path, run):
    """An issuer that takes all its keys back is taken at its word."""
    keys = await run(path)
    path.write_bytes(jwk_set())
    await trio.sleep(jwks.REFRESH + 1)

    assert keys.is_loaded
    assert START == keys.loaded_at
    assert 401 == await seen(keys, signed("ES256", EC))


BROKEN = {
    "nothing": b"",
    "no-http": b"secret-content\r\n\r\n",
    "cut": http(jwk_set(NEW))[:-20],
    "no-json": http(b"secret-content"),
    "no-text": http(b"\xff"),
    "deep": http(b"[" * 100_000),
    "no-set": http(b'{"key": "secret-content"}'),
    "no-keys": http(b'{"keys": ["secret-content"]}'),
    "too-many-keys": http(jwk_set(*[NEW] * (key_set.MAX_KEYS + 1))),
    "too-long": http(b" " * key_source.MAX_SET + jwk_set(NEW)),
    "status": http(jwk_set(NEW), "500 secret-content"),
    "redirect": http(jwk_set(NEW), "302 Found", "Location: /elsewhere"),
    "coded": http(jwk_set(NEW), "200 OK", "Content-Encoding: gzip")[:-1] + b"!",
}


@pytest.mark.parametrize("answer", BROKEN.values(), ids=BROKEN)
async def test_broken_answer_leaves_the_keys_and_is_told(
    autojump_clock, publisher, run, caplog, answer
):
    """What cannot be read changes nothing, and nothing of it is in the log."""
    keys = await run(publisher.url)
    publisher.answer = answer
    await trio.sleep(jwks.REFRESH + 1)

    assert "ROUNDEL_JWKS could not be read" in caplog.text
    assert "secret-content" not in caplog.text
    assert "alice" == await seen(keys, signed("ES256", EC))
    publisher.answer = http(jwk_set(NEW))
    await trio.sleep(jwks.ASK_EVERY)
    assert "alice" == await seen(keys, signed("ES256", NEW))


async def test_longest_set_is_read(autojump_clock, publisher, run):
    """The bounds are what is let through."""
    most = jwk_set(*[EC] * key_set.MAX_KEYS)
    publisher.answer = http(most + b" " * (key_source.MAX_SET - len(most)))
    keys = await run(publisher.url)

    assert "alice" == await seen(keys, signed("ES256", EC))


async def test_answer_that_takes_too_long_is_given_up(
    autojump_clock, publisher, run, caplog
):
    """Ten seconds are for the whole answer, and the start waits no longer either."""
    publisher.delay = 3_600
    keys = await run(publisher.url)

    assert key_source.TIMEOUT == trio.current_time()
    assert not keys.is_loaded
    assert "10 seconds" in caplog.text


async def test_file_that_is_away_leaves_the_keys(
    autojump_clock, path, run, caplog, tmp_path
):
    """A file that is gone, is too long or is a directory changes nothing."""
    keys = await run(path)
    path.unlink()
    await trio.sleep(jwks.REFRESH + 1)
    assert "no such file" in caplog.text

    path.write_bytes(b" " * (key_source.MAX_SET + 1))
    await trio.sleep(jwks.REFRESH + 1)
    assert "more than 1048576 bytes" in caplog.text
    assert "alice" == await seen(keys, signed("ES256", EC))
    assert not (await run(tmp_path)).is_loaded


@pytest.mark.slow
@pytest.mark.parametrize(("drawn", "longest"), [(0.0, 1.0), (1.0, 60.0)])
async def test_what_fails_is_tried_again_ever_later(
    autojump_clock, silent, run, caplog, drawn, longest
):
    """Between a second and a minute pass, and no two processes go in step."""
    await run(silent.url, random=lambda: drawn)
    expected = [1 + drawn * (until - 1) for until in (2, 4, 8, 16, 32, 60, 60)]
    for count, pause in enumerate(expected, 1):
        await trio.sleep(pause - 0.1)
        assert count == caplog.text.count("ConnectError")
        await trio.sleep(0.1)
        await trio.testing.wait_all_tasks_blocked(0.02)

    assert longest == expected[-1]
    assert len(expected) + 1 == caplog.text.count("ConnectError")


async def test_request_is_one_that_no_proxy_and_no_coding_changes(
    autojump_clock, publisher, run, monkeypatch
):
    """What is on this machine is asked without the proxy that is for the outside."""
    monkeypatch.setenv("HTTP_PROXY", "http://192.0.2.1:9/")
    await run(publisher.url)
    request = publisher.requests[0].lower()

    assert request.startswith(b"get /keys http/1.1\r\n")
    assert b"accept-encoding: identity\r\n" in request


async def test_https_is_spoken_to_nobody_who_proves_nothing(
    autojump_clock, publisher, run, caplog
):
    """A peer without a certificate has no say in who is who."""
    keys = await run(publisher.url.replace("http:", "https:"))

    assert not keys.is_loaded
    assert "ConnectError" in caplog.text


@pytest.mark.parametrize(
    "source",
    [
        "keys.json",
        "/etc/roundel/keys.json",
        "https://issuer.example/keys?v=2",
        "http://127.0.0.1:80/keys",
        "http://127.9.9.9/keys",
        "http://[::1]/keys",
        "http://localhost/keys",
    ],
)
def test_source_is_a_file_or_safe_on_its_way(source):
    """Keys come from this machine, or by TLS."""
    assert source == check_source(source)


@pytest.mark.parametrize(
    "source",
    [
        "",
        "://",
        "https://",
        "https:///keys",
        "https://issuer.example\n/",
        "https://user:password@issuer.example/",
        "http://issuer.example/keys",
        "http://localhost.example/keys",
        "http://10.0.0.1/keys",
        "file:///etc/keys",
        "ftp://127.0.0.1/keys",
    ],
)
def test_source_that_anybody_on_the_way_could_change_is_refused(source):
    """Who can write the keys can be anybody."""
    with pytest.raises(ValueError, match="expected a path, an https URL") as error:
        check_source(source)

    assert "password" not in str(error.value)


@pytest.mark.slow
@settings(deadline=None, max_examples=50)
@given(
    text=st.text()
    | st.lists(st.binary(max_size=40).map(coded), max_size=5).map(".".join)
    | st.dictionaries(
        st.sampled_from(["alg", "kid", "crit", "b64", "typ", "jwk", "x5c", "jku"]),
        st.none() | st.sampled_from(["ES256", "EdDSA", RSA, EC]) | st.just(["b64"]),
    ).map(lambda header: with_header(json.dumps(header)))
    | st.binary(max_size=70).map(lambda some: with_signature(coded(some)))
    | st.tuples(st.sampled_from(["RS256", "EdDSA"]), st.binary(max_size=300)).map(
        lambda some: (
            with_header(json.dumps({"alg": some[0]})).rpartition(".")[0]
            + f".{coded(some[1])}"
        )
    )
)
async def test_whatever_is_presented_is_401_at_the_worst(text):
    """No text gets anything out of the set but a refusal, or the claims."""
    keys = JwkSet("keys.json", clock=lambda: START)
    keys._take(key_set.parse(jwk_set(RSA, EC, OKP)))
    keys._asked_at = trio.current_time()

    assert 401 == await seen(keys, text)


@pytest.mark.slow
@settings(deadline=None, max_examples=200)
@given(
    st.binary()
    | st.dictionaries(
        st.sampled_from(["kty", "kid", "n", "e", "crv", "x", "y", "use", "key_ops"]),
        st.recursive(
            st.none() | st.integers() | st.text(max_size=9) | st.sampled_from([RSA]),
            lambda some: st.lists(some, max_size=3),
        )
        | st.sampled_from(["RSA", "EC", "OKP", "P-256", "Ed25519", "sig", "A" * 342]),
    ).map(lambda some: jwk_set(some))
)
def test_whatever_is_published_is_a_set_or_unreadable(content):
    """No answer of an issuer is an error in the service."""
    try:
        found = key_set.parse(content)
    except key_set.UnreadableError:
        return
    assert len(found.keys) + len(found.ignored) <= 1
