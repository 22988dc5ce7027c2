"""Settings of the service: their values, their bounds and their defaults.

`settings_fields` defines each field of `Settings` and reads its value from one of the
`settings_sources`.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, Literal, TypeAlias, final

import attrs

from .addresses import Address, ListenAddress, parse_addresses, repeated
from .domain.items import MAX_ITEM_SIZE
from .engines.base import USER_TTL
from .engines.cache import CACHE_BYTES
from .engines.sqlite.connection import Durability
from .engines.valkey.url import parse_url
from .http.origins import parse_origin
from .http.schemas import MAX_TOPIC_TTL
from .identity.hmac_key import MIN_SECRET, is_secret
from .identity.jwks import check_source
from .settings_fields import (
    HINT,
    choice,
    count,
    list_of,
    load_field,
    names_of,
    number,
    parse_ttl,
    seconds,
    setting,
    split,
    texts,
)
from .settings_sources import (
    PREFIX,
    ConfigError,
    SettingsSource,
    ignored_variables,
    read_environment,
    read_toml,
)

__all__ = [
    "DEFAULT_BIND",
    "PREFIX",
    "Address",
    "ConfigError",
    "LogLevel",
    "Settings",
    "foreign_variables",
    "load",
    "load_some",
]

LogLevel: TypeAlias = Literal["debug", "info", "warning", "error"]
Switch: TypeAlias = Literal["on", "off"]


SINGLE_PROCESS_ENGINES = {"memory", "sqlite"}
"""Schemes of the engines that several processes cannot share."""

DEFAULT_BIND = Address("127.0.0.1", 8080)
DEFAULT_OPS_BIND = Address("127.0.0.1", 9180)

MIN_PRODUCER_KEY = 16
"""Minimum length of a producer key in characters: a dictionary has shorter ones."""

_KEY = re.compile(rf"[ -~]{{{MIN_PRODUCER_KEY},}}")


# RFC 7519 4.1: claims that name no user.
_REGISTERED_CLAIMS = ("exp", "iat", "nbf", "aud", "iss")


def _split_secrets(text: str) -> tuple[str, ...]:
    """Return the secrets of a list; a single one keeps its white space."""
    return split(text) if "," in text else (text,)


def _parse_engine(text: str) -> str:
    if "\0" in text:
        raise ValueError("expected no NUL, which no path has")
    scheme, colon, _ = text.partition(":")
    if (scheme, colon) not in {("memory", ""), ("sqlite", ":")}:
        parse_url(text)
    return text


@final
@attrs.frozen(kw_only=True)
class Settings:
    """The settings, named as in docs/reference/settings.md."""

    bind: tuple[ListenAddress, ...] = list_of(
        "HOST:PORT, unix:PATH or fd:NUMBER",
        parse=parse_addresses,
        is_valid=bool,
        default=(DEFAULT_BIND,),
    )
    ops_bind: tuple[ListenAddress, ...] = list_of(
        "HOST:PORT, unix:PATH or fd:NUMBER, or nothing for none",
        parse=parse_addresses,
        default=(DEFAULT_OPS_BIND,),
    )
    # Secret: a URL may have a password.
    engine: str = setting(
        "memory, sqlite:PATH or valkey://HOST",
        parse=_parse_engine,
        default="sqlite:",
        secret=True,
    )
    durability: Durability = choice(  # noqa: RUF009, an attrs field
        Durability, "full"
    )
    cache_bytes: int = count(1 << 20, 1 << 40, CACHE_BYTES, "bytes")
    user_ttl: int = count(86_400, 1 << 31, round(USER_TTL), "seconds")
    workers: int = count(1, 64, 1)
    producer_keys: tuple[str, ...] = list_of(
        f"keys of {MIN_PRODUCER_KEY} or more printable ASCII characters",
        parse=split,
        is_valid=lambda keys: keys and all(map(_KEY.fullmatch, keys)),
        secret=True,
        in_file=True,
    )
    jwt_secret: tuple[str, ...] | None = list_of(
        f"secrets of {MIN_SECRET} or more bytes, and no public key",
        parse=_split_secrets,
        is_valid=lambda secrets: all(map(is_secret, secrets)),
        default=None,
        secret=True,
        in_file=True,
    )
    jwks: str | None = setting(
        "a path, an https URL, or an http URL of loopback, without a password",
        parse=check_source,
        default=None,
        secret=True,
    )
    jwt_audience: tuple[str, ...] = texts()
    jwt_issuer: tuple[str, ...] = texts()
    jwt_user_claim: str = setting(
        "the name of a claim, and none of " + ", ".join(_REGISTERED_CLAIMS),
        is_valid=lambda text: text and text not in _REGISTERED_CLAIMS,
        default="sub",
    )
    # RFC 6265 4.1.1: the name of a cookie is a token.
    cookie: str = setting(
        "a cookie name: letters, digits and !#$%&'*+.^_`|~-",
        is_valid=re.compile(r"[\w!#$%&'*+.^`|~-]+", re.ASCII).fullmatch,
        default="roundel",
    )
    cors_origins: tuple[str, ...] = list_of(
        "origins like https://example.org or https://*.example.org",
        parse=lambda text: tuple(map(parse_origin, split(text))),
        default=(),
    )
    http2: Switch = choice(Switch, "on")  # noqa: RUF009, an attrs field
    retry: float = seconds(5.0)
    ping: float = seconds(25.0)
    max_age: float = seconds(600.0)
    write_timeout: float = seconds(30.0)
    drain_timeout: float = seconds(20.0)
    max_streams: int = count(1, 1_000_000, 20_000)
    max_streams_per_user: int = count(1, 10_000, 32)
    producer_rate: float = number(1e9, "notifications a second, above 0", 20_000.0)
    user_rate: float = number(1e9, "requests a second, above 0", 50.0)
    topic_rate: float = number(1e9, "notifications a second, above 0", 10.0)
    mailbox_items: int = count(1, 10_000, 200)
    mailbox_bytes: int = count(MAX_ITEM_SIZE, 1 << 26, 262_144, "bytes")
    mailbox_waiting: int = count(1, 10_000, 100)
    ttl: tuple[tuple[str, float], ...] = list_of(
        "CATEGORY=SECONDS like default=7776000, each category once, 0 for never",
        parse=parse_ttl,
        is_valid=bool,
        default=(),
    )
    ring_changes: int = count(1, 10_000, 256)
    topic_items: int = count(1, 10_000, 100)
    topic_ttl: int = count(1, MAX_TOPIC_TTL, 30 * 86_400, "seconds")
    max_follows: int = count(1, 1_000, 64)
    log_level: LogLevel = choice(LogLevel, "info")  # noqa: RUF009, an attrs field


_FIELDS = {field.name: field for field in attrs.fields(Settings)}

_KNOWN = {name for field in _FIELDS.values() for name in names_of(field)}


def load(
    flags: Mapping[str, object],
    environment: Mapping[str, str],
    file: Path | None = None,
) -> Settings:
    """Read the settings; flags override the environment, which overrides the *file*.

    Raises `ConfigError` with a line for each unknown, missing or invalid setting: its
    name, where it was set and what was expected. No line shows a secret.
    """
    values, errors = _load_fields(_FIELDS, environment, file, flags)
    keys = [values[n] is not None for n in ("jwt_secret", "jwks") if n in values]
    if keys in ([False, False], [True, True]):
        # With both, the token would choose how it is verified.
        errors.append(
            "ROUNDEL_JWT_SECRET, ROUNDEL_JWKS: expected exactly one of them, got "
            + ("both" if all(keys) else f"none; {HINT}")
        )
    if errors:
        raise ConfigError(*errors)
    settings = Settings(**values)
    if again := repeated((*settings.bind, *settings.ops_bind)):
        raise ConfigError(
            f"ROUNDEL_BIND, ROUNDEL_OPS_BIND: expected each address once, got {again}"
        )
    scheme = settings.engine.partition(":")[0]
    if settings.workers > 1 and scheme in SINGLE_PROCESS_ENGINES:
        raise ConfigError(
            f"ROUNDEL_WORKERS: expected 1, since the engine {scheme} keeps mailboxes "
            f"in one process, got {settings.workers}"
        )
    return settings


def foreign_variables(environment: Mapping[str, str]) -> list[str]:
    """Return the variables that begin with `PREFIX` and are for other programs."""
    return ignored_variables(environment, _KNOWN)


def load_some(
    names: Iterable[str],
    environment: Mapping[str, str],
    file: Path | None = None,
    flags: Mapping[str, object] | None = None,
) -> dict[str, Any]:
    """Read only the settings with these *names*, for a command that needs no others."""
    values, errors = _load_fields(names, environment, file, flags or {})
    if errors:
        raise ConfigError(*errors)
    return values


def _load_fields(
    names: Iterable[str],
    environment: Mapping[str, str],
    file: Path | None,
    flags: Mapping[str, object],
) -> tuple[dict[str, Any], list[str]]:
    """Return the values of the valid settings, and a line for each error."""
    sources = [
        SettingsSource("flag", flags),
        read_environment(environment, _KNOWN, may_be_empty="ops_bind"),
        *([read_toml(file)] if file else []),
    ]
    errors = [line for source in sources for line in source.unknown(_KNOWN)]
    values: dict[str, Any] = {}
    for name in names:
        try:
            values[name] = load_field(_FIELDS[name], sources)
        except ConfigError as error:
            errors += error.lines
    return values, errors
