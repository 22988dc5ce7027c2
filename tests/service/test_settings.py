"""Settings: their order of precedence, their bounds and their error messages."""

from __future__ import annotations

import sys

import pytest

from roundel_service.addresses import Address, InheritedSocket, UnixAddress
from roundel_service.engines.sqlite.default_path import default_path
from roundel_service.settings import ConfigError, load

KEY = "0123456789abcdef"
KEYS = {"ROUNDEL_PRODUCER_KEYS": KEY, "ROUNDEL_JWT_SECRET": "s" * 32}


def refused(flags=None, environment=None, file=None) -> tuple[str, ...]:
    with pytest.raises(ConfigError) as error:
        load(flags or {}, {**KEYS, **(environment or {})}, file)
    return error.value.lines


def test_defaults_are_those_of_the_contract():
    """An unset setting has the default of the reference."""
    settings = load({}, KEYS)

    assert (Address("127.0.0.1", 8080),) == settings.bind
    assert (25, 600, 30, 20) == (
        settings.ping,
        settings.max_age,
        settings.write_timeout,
        settings.drain_timeout,
    )
    assert (200, 262_144, 256) == (
        settings.mailbox_items,
        settings.mailbox_bytes,
        settings.ring_changes,
    )


def test_flag_overrides_environment_overrides_file(tmp_path):
    """Each setting comes from the first source that has it."""
    file = tmp_path / "roundel.toml"
    file.write_text(f'bind = "h:1"\nping = 1\nmax_age = 1.5\nproducer_keys = ["{KEY}"]')
    environment = {"ROUNDEL_BIND": "h:2", "ROUNDEL_PING": "2"}
    keys = {"ROUNDEL_JWT_SECRET": "s" * 32}
    settings = load({"bind": "h:3"}, {**keys, **environment}, file)

    assert (3, 2, 1.5) == (settings.bind[0].port, settings.ping, settings.max_age)
    assert settings.producer_keys == (KEY,)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("BIND", "8080"),
        ("BIND", ":8080"),
        ("BIND", "h:x"),
        ("BIND", "h:65536"),
        ("BIND", "unix:"),
        ("BIND", "h:1,h:1"),
        ("BIND", "a..b:80"),
        ("BIND", f"{'a' * 64}:80"),
        ("BIND", "*:80"),
        ("DURABILITY", "some"),
        ("LOG_LEVEL", "loud"),
        ("HTTP2", "no"),
        ("CACHE_BYTES", "1"),
        ("PING", "0"),
        ("PING", "nan"),
        ("PING", "soon"),
        ("MAX_AGE", "-1"),
        ("OPS_BIND", "9180"),
        ("CORS_ORIGINS", "*"),
        ("CORS_ORIGINS", "null"),
        ("CORS_ORIGINS", "https://a.example/"),
        ("CORS_ORIGINS", "a.example"),
        ("MAX_STREAMS", "0"),
        ("MAX_STREAMS_PER_USER", "many"),
        ("PRODUCER_RATE", "0"),
        ("USER_RATE", "-1"),
        ("MAILBOX_ITEMS", "0"),
        ("MAILBOX_ITEMS", "1.5"),
        ("MAILBOX_BYTES", "100"),
        ("MAILBOX_WAITING", "0"),
        ("TTL", "60"),
        ("TTL", "news"),
        ("TTL", "news=soon"),
        ("TTL", "news=-1"),
        ("TTL", "news=nan"),
        ("TTL", "news=1e12"),
        ("TTL", "News=60"),
        ("TTL", "a=1,a=2"),
        ("TTL", "a=1,"),
        ("RING_CHANGES", "99999999"),
    ],
)
def test_bad_setting_is_refused_by_name(name, value):
    """The line has the name, the source, the expected and the given value."""
    (line,) = refused(environment={f"ROUNDEL_{name}": value})

    assert line.startswith(f"ROUNDEL_{name} (environment): expected ")
    assert line.endswith(f"got {value!r}")


def test_all_errors_are_reported_at_once():
    """One start reports every invalid setting."""
    environment = {"ROUNDEL_PING": "x", "ROUNDEL_MAX_AGE": "y"}

    assert len(refused(environment=environment)) == 2


def test_producer_keys_are_required():
    """There is no default key, which every client would know."""
    with pytest.raises(ConfigError) as error:
        load({}, {"ROUNDEL_JWT_SECRET": "s" * 32})

    assert "ROUNDEL_PRODUCER_KEYS: not set" in error.value.lines[0]


def test_missing_secrets_are_named_together():
    """One start shows what is missing, and the command that makes it."""
    with pytest.raises(ConfigError) as error:
        load({}, {})

    key, secret = error.value.lines
    assert key.startswith("ROUNDEL_PRODUCER_KEYS: not set, ")
    assert secret.startswith("ROUNDEL_JWT_SECRET, ROUNDEL_JWKS: ")
    assert all("roundel init" in line for line in (key, secret))


@pytest.mark.parametrize(
    "keys", ["", KEY[1:], f"{KEY},", f"{KEY},short", f" {KEY[1:]} ", KEY[1:] + "é"]
)
def test_short_producer_key_is_refused(keys):
    """A dictionary attack finds a short key; the error says what is expected."""
    (line,) = refused({"producer_keys": keys})

    assert "expected keys of 16 or more printable ASCII characters" in line


def test_producer_keys_of_the_minimum_length_are_accepted():
    """White space around a comma is not a part of a key."""
    keys = load({"producer_keys": f"{KEY} , {KEY}2"}, KEYS).producer_keys

    assert (KEY, f"{KEY}2") == keys


@pytest.mark.parametrize(
    ("keys", "got"),
    [
        ({}, "none"),
        ({"ROUNDEL_JWT_SECRET": "s" * 32, "ROUNDEL_JWKS": "keys.json"}, "both"),
    ],
    ids=["none", "both"],
)
def test_exactly_one_kind_of_token_key_is_required(keys, got):
    """Without a key no user could be authenticated; with two, a token would choose."""
    with pytest.raises(ConfigError) as error:
        load({}, {"ROUNDEL_PRODUCER_KEYS": KEY, **keys})

    (line,) = error.value.lines
    assert f"ROUNDEL_JWKS: expected exactly one of them, got {got}" in line


def test_several_workers_need_a_shared_engine():
    """With separate mailboxes per process, badges would be wrong."""
    (line,) = refused({"workers": "2", "engine": "memory"})

    assert line == (
        "ROUNDEL_WORKERS: expected 1, since the engine memory keeps mailboxes in one "
        "process, got 2"
    )


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("JWT_SECRET", "short-secret"),
        ("PRODUCER_KEYS", f"{KEY},{KEY}\x07"),
        ("JWKS", "https://me:password@keys.example"),
        ("JWKS", "http://keys.example/jwks.json"),
        ("JWKS", "ftp://keys.example"),
    ],
)
def test_refused_secret_is_not_printed(name, value):
    """The error for an invalid secret does not show it."""
    (line,) = refused(environment={f"ROUNDEL_{name}": value})

    assert value not in line


def test_repr_shows_no_secret():
    """The `repr` of the settings shows no secret."""
    assert "s" * 32 not in repr(load({}, KEYS))


@pytest.mark.parametrize(
    "text",
    ['"default=60, news=0.5"', '["default=60", "news=0.5"]'],
    ids=["one", "list"],
)
def test_time_to_live_has_a_value_for_each_category(tmp_path, text):
    """In a file it is one text or a list."""
    file = tmp_path / "roundel.toml"
    file.write_text(f"ttl = {text}")

    assert (("default", 60.0), ("news", 0.5)) == load({}, KEYS, file).ttl


def test_service_can_have_several_listeners():
    """Each listener has addresses of all kinds, separated by commas."""
    settings = load({"bind": "[::1]:0, unix:/run/r.sock", "ops_bind": "fd:3"}, KEYS)

    assert (Address("::1", 0), UnixAddress("/run/r.sock")) == settings.bind
    assert (InheritedSocket(3),) == settings.ops_bind


def test_one_inherited_socket_has_one_use():
    """The two listeners would take connections from each other."""
    (line,) = refused({"bind": "fd:3,fd:4", "ops_bind": "fd:4,h:1"})

    assert (
        line == "ROUNDEL_BIND, ROUNDEL_OPS_BIND: expected each address once, got fd:4"
    )


@pytest.mark.parametrize("engine", ["memory", "sqlite:", "sqlite:a b.db", "redis://h"])
def test_engine_is_selected_by_its_scheme(engine):
    """The settings check only the scheme; the engine parses the rest."""
    assert engine == load({"engine": engine}, KEYS).engine


@pytest.mark.parametrize(
    "engine",
    ["memory:x", "postgres://h", "valkey:h", "redis", "redis://\udcff", "sqlite:a\0b"],
)
def test_unknown_engine_is_refused_and_not_shown(engine):
    """A URL may have a password, so the error does not show it."""
    (line,) = refused(environment={"ROUNDEL_ENGINE": engine})

    assert line.startswith("ROUNDEL_ENGINE (environment): expected memory, sqlite:PATH")
    assert line.endswith("got a value that is not shown")


@pytest.mark.parametrize(
    ("platform", "data", "expected"),
    [
        ("linux", "", ".local/share/roundel"),
        ("linux", "relative", ".local/share/roundel"),
        ("linux", "/HOME/data", "data/roundel"),
        ("darwin", "", "Library/Application Support/Roundel"),
    ],
)
def test_data_folder_is_the_platforms(tmp_path, monkeypatch, platform, data, expected):
    """Without a path, the file is in the data folder of the platform, mode 0700."""
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("XDG_DATA_HOME", data.replace("/HOME", str(tmp_path)))
    monkeypatch.setattr(sys, "platform", platform)
    file = default_path()

    assert tmp_path / expected / "roundel.db" == file
    assert file.parent.stat().st_mode & 0o777 == 0o700
