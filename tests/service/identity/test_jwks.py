"""Published keys: which keys verify which tokens, and for how long."""

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

from roundel_service.identity import jwks, jwks_fetch
from roundel_service.identity.authenticator import Authenticator
from roundel_service.identity.callers import Credentials
from roundel_service.identity.errors import InvalidCredentials, KeysUnavailable
from roundel_service.identity.jwk_set import MAX_KEYS, JwksError, parse_jwk_set
from roundel_service.identity.jwks import JwksClient, check_source

START = 1_763_690_000.0


def clock() -> float:
    """Seconds since 1970, in virtual time."""
    return START + trio.current_time()


@cache
def key(kind: str) -> Key:
    """Make one key of each kind; its kid is the kind."""
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
    """Return *members* with *changes*; `None` removes a member."""
    merged = {**members, **changes}
    return {name: value for name, value in merged.items() if value is not None}


def jwk(kind: str, **changes) -> dict:
    return changed(key(kind).as_dict(private=False), changes)


def jwk_set(*keys: str | dict) -> bytes:
    members = [jwk(each) if isinstance(each, str) else each for each in keys]
    return json.dumps({"keys": members}).encode()


CLAIMS = json.dumps({"sub": "alice", "exp": START + 86_400}).encode()


def signed(alg: str, kind: str, claims: bytes = CLAIMS, **header) -> str:
    """Return a token, by default of alice."""
    registry = JWSRegistry(algorithms=[alg])
    # The library warns of the deprecated name EdDSA.
    known = registry.algorithms
    registry.algorithms = {**known, "EdDSA": known["Ed25519"]}
    named = changed({"alg": alg, "kid": kind}, header)
    return serialize_compact(named, claims, key(kind), registry=registry)


def coded(part: bytes) -> str:
    return base64.urlsafe_b64encode(part).decode().rstrip("=")


def with_header(header: str) -> str:
    """Return a valid token with another header."""
    return f"{coded(header.encode())}.{signed('ES256', EC).partition('.')[2]}"


def with_signature(signature: str) -> str:
    return f"{signed('ES256', EC).rpartition('.')[0]}.{signature}"


def confused(secret: bytes, **header) -> str:
    """Return an HS256 token whose secret is public: a part of a published key."""
    head = json.dumps({"alg": "HS256", **header}).encode()
    message = f"{coded(head)}.{coded(CLAIMS)}"
    return f"{message}.{coded(hmac.digest(secret, message.encode(), hashlib.sha256))}"


async def result(client: JwksClient, token: str) -> str:
    """Return the user whom *token* identifies, "invalid" or "unavailable"."""
    authenticator = Authenticator(producer_keys=("one",), keys=client, clock=clock)
    try:
        return (await authenticator.user(Credentials(cookies=(token,)))).name
    except InvalidCredentials:
        return "invalid"
    except KeysUnavailable:
        return "unavailable"


@pytest.fixture
def path(tmp_path):
    """Write a set of one key to a file."""
    made = tmp_path / "keys.json"
    made.write_bytes(jwk_set(EC))
    return made


@pytest.fixture
def run(nursery):
    """Run a client until the end of the test."""

    async def start(source, **changes) -> JwksClient:
        keys = JwksClient(str(source), **changes)
        await nursery.start(keys.run)
        return keys

    return start


def http(body: bytes, status: str = "200 OK", *headers: str) -> bytes:
    lines = [f"HTTP/1.1 {status}", f"Content-Length: {len(body)}", *headers, "", ""]
    return "\r\n".join(lines).encode() + body


@attrs.define
class Publisher:
    """An issuer's server on loopback, which sends *response* after *delay* seconds."""

    socket: trio.socket.SocketType = attrs.field(factory=trio.socket.socket)
    response: bytes = b""
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
            await stream.send_all(self.response)


@pytest.fixture
async def silent():
    """Bind a port that refuses connections until it is served."""
    publisher = Publisher(response=http(jwk_set(EC)))
    await publisher.socket.bind(("127.0.0.1", 0))
    yield publisher
    publisher.socket.close()


@pytest.fixture
async def publisher(silent, nursery):
    """Serve a set of one key."""
    await nursery.start(silent.serve)
    return silent


P384, PSS = "EC/P-384", "RSA/PS256"

FITTING = {
    "rs256": ("RS256", RSA),
    "es256": ("ES256", EC),
    "es384": ("ES384", P384),
    "eddsa": ("EdDSA", OKP),
    "ed25519": ("Ed25519", OKP),
}


@pytest.mark.parametrize(("alg", "kind"), FITTING.values(), ids=FITTING)
@pytest.mark.parametrize("kid", ["its-kid", "no-kid"])
async def test_token_of_a_published_key_is_valid(
    autojump_clock, path, run, alg, kind, kid
):
    """Each algorithm works with a key of its type, with or without a kid."""
    path.write_bytes(jwk_set(NEW, RSA, EC, OKP, P384))
    keys = await run(path)
    token = signed(alg, kind) if kid == "its-kid" else signed(alg, kind, kid=None)

    assert "alice" == await result(keys, token)


@pytest.mark.parametrize("kid", [PSS, None])
async def test_rsa_key_has_the_algorithm_that_it_names(autojump_clock, path, run, kid):
    """An RSA key is for RS256 unless it says PS256, and never for both."""
    path.write_bytes(jwk_set(jwk(PSS, alg="PS256"), RSA))
    keys = await run(path)

    assert "alice" == await result(keys, signed("PS256", PSS, kid=kid))
    assert "invalid" == await result(keys, signed("RS256", PSS, kid=kid))
    assert "alice" == await result(keys, signed("RS256", RSA))
    assert "invalid" == await result(keys, signed("PS256", RSA))


async def test_key_without_a_kid_is_for_tokens_without_one(autojump_clock, path, run):
    """A set of one key needs no kid; a token with an unknown kid is invalid."""
    path.write_bytes(jwk_set(jwk(EC, kid=None)))
    keys = await run(path)

    assert "alice" == await result(keys, signed("ES256", EC, kid=None))
    assert "invalid" == await result(keys, signed("ES256", NEW, kid=None))
    assert "invalid" == await result(keys, signed("ES256", EC))


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
    "es384-of-another-key": lambda: signed("ES384", P384, kid=EC),
    "es512": lambda: signed("ES512", "EC/P-521", kid=None),
    "es256k": lambda: signed("ES256K", "EC/secp256k1", kid=None),
    "ps384": lambda: signed("PS384", RSA),
    "ed448": lambda: signed("Ed448", "OKP/Ed448", kid=None),
    "hs256-of-a-published-key": lambda: signed("HS256", "oct"),
    "hs256-of-the-pem": lambda: confused(key(RSA).as_pem(), kid=RSA),
    "hs256-of-the-der": lambda: confused(key(RSA).as_der(), kid=RSA),
    "hs256-of-the-jwk": lambda: confused(json.dumps(jwk(RSA)).encode(), kid=RSA),
    "hs256-of-nothing": lambda: confused(b""),
}


@pytest.mark.parametrize("token", REFUSED.values(), ids=REFUSED)
async def test_token_of_no_published_key_is_invalid(autojump_clock, path, run, token):
    """No header makes a token valid, and neither does a public key as a secret."""
    secret = key("oct").as_dict(private=True)
    path.write_bytes(jwk_set(RSA, EC, OKP, P384, "EC/P-521", "OKP/Ed448", secret))
    keys = await run(path)

    assert "alice" == await result(keys, signed("ES256", EC))
    assert "invalid" == await result(keys, token())


IGNORED = {
    "for-encryption": lambda: jwk(EC, use="enc"),
    "for-use-unknown": lambda: jwk(EC, use="more"),
    "not-to-verify": lambda: jwk(EC, key_ops=["sign"]),
    "for-another-algorithm": lambda: jwk(RSA, alg="RS384"),
    "for-the-other-curve": lambda: jwk(EC, alg="ES384"),
    "for-the-algorithm-of-others": lambda: jwk(EC, alg="RS256"),
    "for-an-algorithm-unknown": lambda: jwk(EC, alg="ES1024"),
    "another-curve": lambda: jwk("EC/P-521"),
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
async def test_key_that_is_not_for_tokens_is_ignored_and_logged(
    autojump_clock, path, run, caplog, other
):
    """One unknown key does not make the set invalid (RFC 7517 5)."""
    other = other()
    path.write_bytes(jwk_set(NEW, other))
    keys = await run(path)
    kid = other.get("kid")

    assert (repr(kid) if isinstance(kid, str) else "without kid") in caplog.text
    assert "alice" == await result(keys, signed("ES256", NEW))
    for alg, kind in FITTING.values():
        assert "invalid" == await result(keys, signed(alg, kind))
        assert "invalid" == await result(keys, signed(alg, kind, kid=None))


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
async def test_key_may_name_its_use_and_algorithm(
    autojump_clock, path, run, caplog, kind, changes
):
    """A key works with either name of its algorithm; other members are ignored."""
    path.write_bytes(jwk_set(jwk(kind, **changes)))
    keys = await run(path)

    assert "" == caplog.text
    for alg, fits in FITTING.values():
        expected = "alice" if fits == kind else "invalid"
        assert expected == await result(
            keys, signed(alg, kind if fits == kind else fits)
        )


async def test_private_part_of_a_key_is_not_imported(autojump_clock, path, run):
    """A set with private keys is accepted, and the private parts are dropped."""
    path.write_bytes(jwk_set(key(EC).as_dict(private=True)))
    keys = await run(path)

    assert "alice" == await result(keys, signed("ES256", EC))
    assert not any(each.key.is_private for each in keys._key_set.keys)


async def test_ignored_key_is_logged_once(autojump_clock, path, run, caplog):
    """A key for another purpose is not logged at each read."""
    path.write_bytes(jwk_set(EC, jwk(RSA, use="enc")))
    await run(path)
    await trio.sleep(3 * jwks.REFRESH_INTERVAL + 1)

    assert 1 == caplog.text.count(repr(RSA))


async def test_keys_follow_the_file(autojump_clock, path, run):
    """A file is read again at each refresh; a removed key is no longer valid."""
    keys = await run(path)
    path.write_bytes(jwk_set(NEW))

    assert "alice" == await result(keys, signed("ES256", EC))
    await trio.sleep(jwks.REFRESH_INTERVAL + 1)
    assert "invalid" == await result(keys, signed("ES256", EC))
    assert "alice" == await result(keys, signed("ES256", NEW))


async def test_removed_key_invalidates_the_cached_tokens(autojump_clock, path, run):
    """The cache of verified tokens is cleared when the set is read."""
    keys = await run(path)
    token = signed("ES256", EC)
    assert ["alice"] * 3 == [await result(keys, token) for _ in range(3)]
    path.write_bytes(jwk_set(NEW))
    await trio.sleep(jwks.REFRESH_INTERVAL + 1)

    assert "invalid" == await result(keys, token)
    assert "alice" == await result(keys, signed("ES256", NEW))


async def test_token_with_an_unknown_kid_causes_a_read(autojump_clock, publisher, run):
    """After a rotation, the first token with the new key is valid."""
    keys = await run(publisher.url)
    assert "alice" == await result(keys, signed("ES256", EC))
    publisher.response = http(jwk_set(NEW))

    assert "alice" == await result(keys, signed("ES256", NEW))
    assert "invalid" == await result(keys, signed("ES256", EC))
    assert 2 == len(publisher.requests)


async def test_unknown_kids_cause_a_read_every_ten_seconds_at_most(
    autojump_clock, publisher, run
):
    """Made-up kids do not flood the issuer with requests."""
    keys = await run(publisher.url)
    publisher.delay = 1
    async with trio.open_nursery() as nursery:
        for number in range(9):
            token = signed("ES256", EC, kid=f"made-up-{number}")
            nursery.start_soon(result, keys, token)
    assert 1.0 == trio.current_time()
    assert 2 == len(publisher.requests)

    assert "invalid" == await result(keys, signed("ES256", EC, kid="more"))
    assert 1.0 == trio.current_time()
    await trio.sleep(jwks.MIN_REQUEST_INTERVAL)
    assert "invalid" == await result(keys, signed("ES256", EC, kid="more"))
    assert 3 == len(publisher.requests)


async def test_token_waits_five_seconds_for_its_key(autojump_clock, publisher, run):
    """A slow issuer delays a request by `REFRESH_WAIT` at most."""
    keys = await run(publisher.url)
    publisher.response, publisher.delay = http(jwk_set(NEW)), 8

    assert "invalid" == await result(keys, signed("ES256", NEW))
    assert jwks.REFRESH_WAIT == trio.current_time()
    await trio.sleep(4)
    assert "alice" == await result(keys, signed("ES256", NEW))


async def test_keys_are_unavailable_until_one_is_loaded(
    autojump_clock, silent, nursery, run
):
    """The service starts without the issuer, and loads the keys later."""
    keys = await run(silent.url)
    token = signed("ES256", EC)

    assert not keys.is_loaded
    assert "unavailable" == await result(keys, token)
    assert "invalid" == await result(keys, "nonsense")
    await nursery.start(silent.serve)
    await trio.sleep(jwks.MIN_REQUEST_INTERVAL)
    assert "alice" == await result(keys, token)
    assert keys.is_loaded


async def test_set_without_a_fitting_key_is_not_loaded(autojump_clock, path, run):
    """Without any key, a token is not invalid: the keys are unavailable."""
    path.write_bytes(jwk_set("EC/P-521"))
    keys = await run(path)

    assert not keys.is_loaded
    assert "unavailable" == await result(keys, signed("ES256", EC))


BROKEN = {
    "nothing": b"",
    "no-http": b"secret-content\r\n\r\n",
    "cut": http(jwk_set(NEW))[:-20],
    "no-json": http(b"secret-content"),
    "no-text": http(b"\xff"),
    "deep": http(b"[" * 100_000),
    "no-set": http(b'{"key": "secret-content"}'),
    "no-keys": http(b'{"keys": []}'),
    "keys-null": http(b'{"keys": null}'),
    "no-key-is-an-object": http(b'{"keys": ["secret-content", null, 7, []]}'),
    "keys-for-encryption": http(jwk_set(jwk(NEW, use="enc"))),
    "keys-of-other-types": http(jwk_set("OKP/Ed448", jwk(NEW, kty="AKP"), {})),
    "keys-of-other-algorithms": http(jwk_set(jwk(NEW, alg="ES1024"))),
    "short-key": http(jwk_set(jwk(RSA, n=coded(b"\x7f" + b"\xff" * 255)))),
    "page-of-a-portal": http(b"<html>secret-content</html>"),
    "too-many-keys": http(jwk_set(*[NEW] * (MAX_KEYS + 1))),
    "too-long": http(b" " * jwks_fetch.MAX_BYTES + jwk_set(NEW)),
    "status": http(jwk_set(NEW), "500 secret-content"),
    "no-content": http(b"", "204 No Content"),
    "not-modified": http(b"", "304 Not Modified"),
    "redirect": http(jwk_set(NEW), "302 Found", "Location: /elsewhere"),
    "coded": http(jwk_set(NEW), "200 OK", "Content-Encoding: gzip")[:-1] + b"!",
}


@pytest.mark.parametrize("response", BROKEN.values(), ids=BROKEN)
async def test_broken_answer_keeps_the_keys_and_is_logged(
    autojump_clock, publisher, run, caplog, response
):
    """A failed read changes no key, and the log quotes nothing of the response."""
    keys = await run(publisher.url)
    publisher.response = response
    await trio.sleep(jwks.REFRESH_INTERVAL + 1)

    # The service turns the lines of the HTTP library off.
    own = [r.getMessage() for r in caplog.records if r.name.startswith("roundel")]
    assert any("ROUNDEL_JWKS could not be read" in line for line in own)
    assert "secret-content" not in repr(own)
    assert "alice" == await result(keys, signed("ES256", EC))
    publisher.response = http(jwk_set(NEW))
    await trio.sleep(jwks.MIN_REQUEST_INTERVAL)
    assert "alice" == await result(keys, signed("ES256", NEW))


async def test_emptied_set_keeps_the_cached_tokens(autojump_clock, path, run):
    """A set without a usable key is a fault of its issuer: no user is signed out."""
    keys = await run(path)
    token = signed("ES256", EC)
    assert "alice" == await result(keys, token)
    path.write_bytes(b'{"keys": []}')
    await trio.sleep(3 * jwks.REFRESH_INTERVAL)

    assert keys.is_loaded
    assert "alice" == await result(keys, token)
    assert "alice" == await result(keys, signed("ES256", EC))


async def test_empty_set_at_the_start_is_read_again_soon(autojump_clock, path, run):
    """A service that starts in that moment has its keys some seconds later."""
    path.write_bytes(jwk_set())
    keys = await run(path, random=lambda: 1.0)
    assert "unavailable" == await result(keys, signed("ES256", EC))
    path.write_bytes(jwk_set(EC))
    await trio.sleep(jwks.MIN_REQUEST_INTERVAL)

    assert "alice" == await result(keys, signed("ES256", EC))


MIXED = {
    "null": lambda: json.dumps({"keys": [None, jwk(EC)]}).encode(),
    "texts": lambda: json.dumps({"keys": ["a", 7, [], jwk(EC)]}).encode(),
    "duplicates": lambda: jwk_set(EC, EC, EC),
    "same-kid": lambda: jwk_set(jwk(NEW, kid=EC), EC),
    "bom": lambda: b"\xef\xbb\xbf" + jwk_set(EC),
    "more-members": lambda: json.dumps({"v": 1, "keys": [jwk(EC)]}).encode(),
    "mostly-bad": lambda: jwk_set({}, jwk(NEW, use="enc"), {"kty": []}, EC),
}


@pytest.mark.parametrize("content", MIXED.values(), ids=MIXED)
async def test_one_usable_key_is_enough(autojump_clock, path, run, content):
    """RFC 7517 5: an entry that is not understood hides no other key."""
    path.write_bytes(content())
    keys = await run(path)

    assert "alice" == await result(keys, signed("ES256", EC))


async def test_lasting_failure_is_a_warning(autojump_clock, path, run):
    """A moment's failure is not worth a look; after a minute it is."""
    keys = await run(path)
    await trio.sleep(9 * jwks.REFRESH_INTERVAL + 1)
    assert keys.warning is None
    path.write_bytes(jwk_set())
    await trio.sleep(jwks.REFRESH_INTERVAL)
    assert keys.warning is None
    await trio.sleep(jwks.STALE_AFTER)

    assert keys.warning.startswith("the keys are 36")
    assert "no signature key" in keys.warning
    assert 359 < keys.age < 362
    path.write_bytes(jwk_set(NEW))
    await trio.sleep(jwks.MAX_BACKOFF)
    assert (keys.warning, keys.age < 61) == (None, True)


async def test_keys_that_were_never_loaded_are_no_warning(autojump_clock, silent, run):
    """The service is then not ready at all."""
    keys = await run(silent.url)
    await trio.sleep(9 * jwks.STALE_AFTER)

    assert keys.warning is None
    assert 9 * jwks.STALE_AFTER == keys.age


async def test_largest_set_is_read(autojump_clock, publisher, run):
    """A set of `MAX_KEYS` keys and `MAX_BYTES` bytes is accepted."""
    most = jwk_set(*[EC] * MAX_KEYS)
    publisher.response = http(most + b" " * (jwks_fetch.MAX_BYTES - len(most)))
    keys = await run(publisher.url)

    assert "alice" == await result(keys, signed("ES256", EC))


async def test_slow_answer_times_out(autojump_clock, publisher, run, caplog):
    """The timeout is for the whole response, and delays the start no longer."""
    publisher.delay = 3_600
    keys = await run(publisher.url)

    assert jwks_fetch.TIMEOUT == trio.current_time()
    assert not keys.is_loaded
    assert "10 seconds" in caplog.text


async def test_unreadable_file_keeps_the_keys(
    autojump_clock, path, run, caplog, tmp_path
):
    """A file that is missing, too large or a directory changes no key."""
    keys = await run(path)
    path.unlink()
    await trio.sleep(jwks.REFRESH_INTERVAL + 1)
    assert "no such file" in caplog.text

    path.write_bytes(b" " * (jwks_fetch.MAX_BYTES + 1))
    await trio.sleep(jwks.REFRESH_INTERVAL + 1)
    assert "more than 1048576 bytes" in caplog.text
    assert "alice" == await result(keys, signed("ES256", EC))
    assert not (await run(tmp_path)).is_loaded


@pytest.mark.slow
@pytest.mark.parametrize(("drawn", "longest"), [(0.0, 1.0), (1.0, 60.0)])
async def test_failed_read_is_retried_with_backoff(
    autojump_clock, silent, run, caplog, drawn, longest
):
    """The delay is random, between 1 and 60 s, so that processes spread out."""
    await run(silent.url, random=lambda: drawn)
    expected = [1 + drawn * (until - 1) for until in (2, 4, 8, 16, 32, 60, 60)]
    for count, pause in enumerate(expected, 1):
        await trio.sleep(pause - 0.1)
        assert count == caplog.text.count("ConnectError")
        await trio.sleep(0.1)
        await trio.testing.wait_all_tasks_blocked(0.02)

    assert longest == expected[-1]
    assert len(expected) + 1 == caplog.text.count("ConnectError")


async def test_request_uses_no_proxy_and_no_compression(
    autojump_clock, publisher, run, monkeypatch
):
    """A loopback URL is requested without the proxy of the environment."""
    monkeypatch.setenv("HTTP_PROXY", "http://192.0.2.1:9/")
    await run(publisher.url)
    request = publisher.requests[0].lower()

    assert request.startswith(b"get /keys http/1.1\r\n")
    assert b"accept-encoding: identity\r\n" in request


@pytest.mark.parametrize("proxy", ["ftp://192.0.2.1", "socks5://192.0.2.1:9"])
async def test_unusable_proxy_is_a_read_that_failed(monkeypatch, proxy):
    """The service goes on with the keys that it has, and tries again."""
    monkeypatch.setenv("ALL_PROXY", proxy)

    with pytest.raises(JwksError, match="proxy or certificates of the environment"):
        await jwks_fetch.fetch("https://issuer.invalid/keys")


async def test_host_that_no_resolver_takes_is_a_read_that_failed():
    """A label of a name has 1 to 63 characters (RFC 1035 2.3.4)."""
    with pytest.raises(JwksError, match="UnicodeError"):
        await jwks_fetch.fetch("https://a..b/keys")


async def test_https_server_without_a_certificate_is_refused(
    autojump_clock, publisher, run, caplog
):
    """Keys are never read from an unauthenticated peer."""
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
def test_source_is_a_file_or_a_secure_url(source):
    """Keys come from this machine, or over TLS."""
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
def test_insecure_source_is_refused(source):
    """An attacker that changes the keys in transit could act as any user."""
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
async def test_any_token_is_valid_or_invalid(text):
    """No token causes an error other than `InvalidCredentials`."""
    keys = JwksClient("keys.json")
    keys._replace(parse_jwk_set(jwk_set(RSA, EC, OKP)))
    keys._requested_at = trio.current_time()

    assert "invalid" == await result(keys, text)


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
def test_any_content_is_a_set_or_a_jwks_error(content):
    """No content causes an error other than `JwksError`."""
    try:
        parsed = parse_jwk_set(content)
    except JwksError:
        return
    assert len(parsed.keys) + len(parsed.ignored) <= 1
