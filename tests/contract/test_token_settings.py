"""The settings of tokens: secrets in rotation, audiences, issuers, claim and cookie."""

from __future__ import annotations

import pytest
from joserfc import jwt
from joserfc.jwk import OctKey

from roundel_service.settings import ConfigError
from support.service import SECRET, body, post, settings, wall_clock

OLD = "an-older-secret-of-more-than-32-bytes"
LOGIN = "https://login.example.org"


def sign(secret: str = SECRET, **claims) -> str:
    fields = {"sub": "alice", "exp": wall_clock() + 60, **claims}
    return jwt.encode({"alg": "HS256"}, fields, OctKey.import_key(secret))


async def status(world, token: str) -> int:
    client = world.anonymous.with_headers({"Authorization": f"Bearer {token}"})
    return (await client.request("GET", "/v1/badge")).status


async def test_every_secret_verifies_and_the_first_signs(autojump_clock, make_world):
    """A secret is rotated without a login: open pages keep their tokens."""
    rotated = make_world(jwt_secret=f"{SECRET}, {OLD}")
    before, after = make_world(jwt_secret=OLD), make_world(jwt_secret=SECRET)
    token = rotated.service.authenticator.sign("alice", ttl=60)

    assert (200, 200) == (
        await status(rotated, sign()),
        await status(rotated, sign(OLD)),
    )
    assert 401 == await status(rotated, sign("neither-of-the-secrets-of-this-service"))
    assert (401, 200) == (await status(before, token), await status(after, token))


async def test_secret_that_is_rotated_away_verifies_nothing(autojump_clock, make_world):
    """A leaked secret is taken out of the list."""
    world = make_world(jwt_secret=SECRET)

    assert 401 == await status(world, sign(OLD))


async def test_single_secret_keeps_its_white_space(autojump_clock, make_world):
    """Only the secrets of a list are stripped."""
    world = make_world(jwt_secret=f" {SECRET} ")

    assert 200 == await status(world, sign(f" {SECRET} "))
    assert 401 == await status(world, sign(SECRET))


PUBLIC = {
    "pem": "-----BEGIN PUBLIC KEY-----\nMCowBQYDK2VwAyEA{}\n-----END PUBLIC KEY-----\n",
    "certificate": "-----BEGIN CERTIFICATE-----\n{}\n-----END CERTIFICATE-----",
    "private-pem": "\n-----BEGIN RSA PRIVATE KEY-----\n{}",
    "ssh2": "---- BEGIN SSH2 PUBLIC KEY ----\n{}",
    "ssh": "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAI{} me@example.org",
    "ecdsa": "ecdsa-sha2-nistp256 AAAAE2VjZHNhLXNoYTItbmlzdHAyNTY{}",
    "der-rsa": "MIIBIjANBgkqhkiG9w0BAQEFAAOCAQ8A{}",
    "pem-in-base64": "LS0tLS1CRUdJTiBQVUJMSUMgS0VZLS0tLS0K{}",
    "der-certificate": "MIIDdzCCAl+gAwIBAgIEAgAAuTANBgkq{}",
    "der-ec": "MFkwEwYHKoZIzj0CAQYIKoZIzj0DAQcDQgAE{}",
    "der-ed25519": "MCowBQYDK2VwAyEA{}",
    "jwk": '{{"kty":"OKP","crv":"Ed25519","x":"{}"}}',
    "second-of-two": SECRET + ",MCowBQYDK2VwAyEA{}",
}


@pytest.mark.parametrize("text", PUBLIC.values(), ids=PUBLIC)
def test_published_key_is_no_secret(text):
    """With a public key as the secret, anybody could sign; one line says so."""
    secret = text.format("11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo")
    with pytest.raises(ConfigError) as error:
        settings(jwt_secret=secret)

    (line,) = error.value.lines
    assert "ROUNDEL_JWT_SECRET (flag): expected secrets of 32 or more bytes" in line
    assert "no public key" in line
    assert "11qYAYKxCrfVS" not in line


@pytest.mark.parametrize(
    "secret",
    [f"{SECRET},", f",{SECRET}", f"{SECRET},short", "é" * 15, f"{SECRET}, ,{OLD}"],
)
def test_each_secret_is_long_enough(secret):
    """A short or empty part of the list is refused at the start, not ignored."""
    with pytest.raises(ConfigError, match="ROUNDEL_JWT_SECRET"):
        settings(jwt_secret=secret)


AUDIENCES = {
    "one": ("mail", 200),
    "other": ("chat", 200),
    "one-in-a-list": (["x", "chat"], 200),
    "foreign": ("mail, chat", 401),
    "foreign-list": (["x", ["mail"], {"mail": 1}], 401),
    "none": (None, 401),
    "number": (7, 401),
}


@pytest.mark.parametrize(("audience", "expected"), AUDIENCES.values(), ids=AUDIENCES)
async def test_one_of_the_audiences_has_to_match(
    autojump_clock, make_world, audience, expected
):
    """Several sites with audiences of their own share a service."""
    world = make_world(jwt_audience="mail, chat")

    assert expected == await status(world, sign(aud=audience))


ISSUERS = {
    "one": (LOGIN, 200),
    "other": ("accounts", 200),
    "slash": (f"{LOGIN}/", 401),
    "list": ([LOGIN], 401),
    "object": ({"accounts": 1}, 401),
    "none": (None, 401),
}


@pytest.mark.parametrize(("issuer", "expected"), ISSUERS.values(), ids=ISSUERS)
async def test_one_of_the_issuers_has_to_match(
    autojump_clock, make_world, issuer, expected
):
    """The issuer is compared as text, with its path."""
    world = make_world(jwt_issuer=f"{LOGIN},accounts")

    assert expected == await status(world, sign(iss=issuer))


async def test_signed_tokens_have_the_first_audience_and_issuer(
    autojump_clock, make_world
):
    """`roundel token` signs what the service accepts."""
    world = make_world(jwt_issuer=f"{LOGIN},b", jwt_audience="mail,chat")
    mail = make_world(jwt_issuer=LOGIN, jwt_audience="mail")
    token = world.service.authenticator.sign("alice", ttl=60)

    assert (200, 200) == (await status(world, token), await status(mail, token))


@pytest.mark.parametrize("name", ["jwt_audience", "jwt_issuer"])
@pytest.mark.parametrize("text", ["a,", ",a", "a, ,b", ","])
def test_empty_part_of_a_list_is_refused(name, text):
    """A typing error is not a smaller list."""
    with pytest.raises(ConfigError, match=f"ROUNDEL_{name.upper()}"):
        settings(**{name: text})


CLAIMS = {
    "oid": {"oid": "alice"},
    "email": {"email": "alice@example.org"},
    "cognito:username": {"cognito:username": "alice"},
    "https://example.org/user": {"https://example.org/user": "alice"},
}


@pytest.mark.parametrize(("claim", "claims"), CLAIMS.items(), ids=CLAIMS)
async def test_user_is_in_the_claim_of_the_setting(
    autojump_clock, make_world, claim, claims
):
    """The claim names the user; `sub` is then not looked at, and may be missing."""
    world = make_world(jwt_user_claim=claim)
    (name,) = claims.values()
    await world.notify(name)
    for sub in ("bob", None, 7):
        token = sign(**claims, sub=sub)
        client = world.anonymous.with_headers({"Authorization": f"Bearer {token}"})
        answer = await client.request("GET", "/v1/badge")

        assert 1 == body(answer)["unread"]
    assert 401 == await status(world, sign(sub=name))
    own = world.service.authenticator.sign(name, ttl=60)
    assert 200 == await status(world, own)


@pytest.mark.parametrize(
    "value", [None, 7, True, ["alice"], "", " alice", "a\0b", "#a"]
)
async def test_claim_without_a_user_name_is_401(autojump_clock, make_world, value):
    """The problem names the claim, and quotes nothing of it."""
    world = make_world(jwt_user_claim="email")
    token = sign(email=value)
    client = world.anonymous.with_headers({"Authorization": f"Bearer {token}"})
    problem = body(await client.request("GET", "/v1/badge"), 401)

    assert "email" in problem["detail"]


@pytest.mark.parametrize("claim", ["exp", "iat", "nbf", "aud", "iss"])
def test_claim_with_another_meaning_is_refused(claim):
    """A registered claim that is no name cannot be the user's."""
    with pytest.raises(ConfigError, match="ROUNDEL_JWT_USER_CLAIM"):
        settings(jwt_user_claim=claim)


@pytest.mark.parametrize("name", ["session", "__Host-roundel", "a.b~c!"])
async def test_cookie_has_the_name_of_the_setting(autojump_clock, make_world, name):
    """Reads, writes and streams take the token from that cookie only."""
    world = make_world(cookie=name)
    token = sign()
    browser = world.anonymous.with_headers({"Cookie": f"roundel=x; {name}={token}"})
    other = world.anonymous.with_headers({"Cookie": f"roundel={token}"})
    refused = await other.request("GET", "/v1/badge")

    assert 200 == (await browser.request("GET", "/v1/badge")).status
    assert f"cookie {name}" in body(refused, 401)["detail"]
    async with browser.stream("/v1/stream") as stream:
        assert "hello" == (await stream.next_event()).type
    document = {"ops": [{"seen_upto": 0}]}
    assert 403 == (await post(browser, "/v1/ops", document)).status


@pytest.mark.parametrize("name", ["a b", "a=b", "a;b", 'a"', "é", "a,b", "a\tb"])
def test_cookie_name_is_a_token(name):
    """RFC 6265 4.1.1: other characters never reach the service."""
    with pytest.raises(ConfigError, match="ROUNDEL_COOKIE"):
        settings(cookie=name)
