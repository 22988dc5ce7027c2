"""Settings of the service: from flags, the environment and a TOML file.

Each field of `Settings` is a setting. Its metadata holds the parser of its text, and
the expected value in words, for the error message.
"""

from __future__ import annotations

import re
import tomllib
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any, Literal, TypeAlias, final, get_args

import attrs

from .engines.base import USER_TTL
from .engines.cache import CACHE_BYTES
from .engines.sqlite.database import Durability
from .engines.valkey.url import parse_url
from .http.decoding import MAX_ITEM
from .identity.hmac_key import MIN_SECRET
from .identity.jwks import check_source

PREFIX = "ROUNDEL_"
"""Prefix of the environment variables."""

OTHER_VARIABLES = {"ROUNDEL_URL"}
"""Variables of commands that call a service: they are no settings of it."""

LogLevel: TypeAlias = Literal["debug", "info", "warning", "error"]

Source: TypeAlias = Mapping[str, object]
"""Values by setting name, in lower case and without the prefix."""


@final
class ConfigError(Exception):
    """Invalid settings; *lines* has one message for each."""

    def __init__(self, *lines: str) -> None:
        self.lines = lines
        super().__init__("\n".join(lines))


@final
@attrs.frozen
class Address:
    """A *host* and a *port*; port 0 means any free port."""

    host: str
    port: int

    def __str__(self) -> str:
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{host}:{self.port}"


SINGLE_PROCESS_ENGINES = {"memory", "sqlite"}
"""Schemes of the engines that several processes cannot share."""

DEFAULT_BIND = Address("127.0.0.1", 8080)
DEFAULT_OPS_BIND = Address("127.0.0.1", 9180)

# RFC 6454 6.2, as a browser sends it; this excludes "*" and "null".
_ORIGIN = re.compile(r"https?://[a-z0-9.\[\]:-]+", re.ASCII)

MIN_PRODUCER_KEY = 16
"""Minimum length of a producer key in characters: a dictionary has shorter ones."""

_KEY = re.compile(rf"[ -~]{{{MIN_PRODUCER_KEY},}}")


def _parse_address(text: str) -> Address:
    host, separator, port = text.rpartition(":")
    if not separator or not host or not port.isdecimal() or int(port) > 65_535:
        raise ValueError
    return Address(host.removeprefix("[").removesuffix("]"), int(port))


def _parse_engine(text: str) -> str:
    scheme, colon, _ = text.partition(":")
    if (scheme, colon) not in {("memory", ""), ("sqlite", ":")}:
        parse_url(text)
    return text


def _split(text: str) -> tuple[str, ...]:
    return tuple(part.strip() for part in text.split(","))


def _setting(
    expected: str,
    *,
    parse: Callable[[str], object] = str,
    is_valid: Callable[[Any], object] = lambda _: True,
    default: object = attrs.NOTHING,
    secret: bool = False,
) -> Any:  # noqa: ANN401, the field declares the type
    metadata = {
        "expected": expected,
        "parse": parse,
        "is_valid": is_valid,
        "secret": secret,
    }
    return attrs.field(default=default, metadata=metadata, repr=not secret)


def _choice(alias: object, default: str) -> Any:  # noqa: ANN401
    *most, last = words = get_args(alias)
    expected = f"{', '.join(most)} or {last}"
    return _setting(expected, is_valid=words.__contains__, default=default)


def _count(low: int, high: int, default: int, unit: str = "") -> Any:  # noqa: ANN401
    expected = f"a count{unit and f' of {unit}'} from {low} to {high}"
    allowed = range(low, high + 1)
    return _setting(expected, parse=int, is_valid=allowed.__contains__, default=default)


def _number(high: float, expected: str, default: float) -> Any:  # noqa: ANN401
    return _setting(
        expected, parse=float, is_valid=lambda n: 0 < n <= high, default=default
    )


def _seconds(default: float) -> Any:  # noqa: ANN401
    expected = "a number of seconds, above 0 and at most 86400"
    return _number(86_400, expected, default)


@final
@attrs.frozen(kw_only=True)
class Settings:
    """The settings, named as in docs/reference/settings.md."""

    bind: Address = _setting(  # noqa: RUF009, an attrs field
        "HOST:PORT", parse=_parse_address, default=DEFAULT_BIND
    )
    ops_bind: Address | None = _setting(  # noqa: RUF009, an attrs field
        "HOST:PORT, or nothing for none",
        parse=lambda text: _parse_address(text) if text else None,
        default=DEFAULT_OPS_BIND,
    )
    # Secret: a URL may have a password.
    engine: str = _setting(
        "memory, sqlite:PATH or valkey://HOST",
        parse=_parse_engine,
        default="sqlite:",
        secret=True,
    )
    durability: Durability = _choice(  # noqa: RUF009, an attrs field
        Durability, "full"
    )
    cache_bytes: int = _count(1 << 20, 1 << 40, CACHE_BYTES, "bytes")
    user_ttl: int = _count(86_400, 1 << 31, round(USER_TTL), "seconds")
    workers: int = _count(1, 64, 1)
    producer_keys: tuple[str, ...] = _setting(
        f"keys of {MIN_PRODUCER_KEY} or more printable ASCII characters, "
        "separated by commas",
        parse=_split,
        is_valid=lambda keys: all(map(_KEY.fullmatch, keys)),
        secret=True,
    )
    jwt_secret: str | None = _setting(
        f"a secret of at least {MIN_SECRET} bytes",
        is_valid=lambda text: len(text.encode()) >= MIN_SECRET,
        default=None,
        secret=True,
    )
    jwks: str | None = _setting(
        "a path, an https URL, or an http URL of loopback, without a password",
        parse=check_source,
        default=None,
        secret=True,
    )
    jwt_audience: str | None = _setting("a text", is_valid=bool, default=None)
    jwt_issuer: str | None = _setting("a text", is_valid=bool, default=None)
    cors_origins: tuple[str, ...] = _setting(
        "origins like https://example.org, separated by commas",
        parse=_split,
        is_valid=lambda origins: all(map(_ORIGIN.fullmatch, origins)),
        default=(),
    )
    retry: float = _seconds(5.0)
    ping: float = _seconds(25.0)
    max_age: float = _seconds(600.0)
    write_timeout: float = _seconds(30.0)
    drain_timeout: float = _seconds(20.0)
    max_streams: int = _count(1, 1_000_000, 20_000)
    max_streams_per_user: int = _count(1, 10_000, 32)
    producer_rate: float = _number(1e9, "notifications a second, above 0", 20_000.0)
    user_rate: float = _number(1e9, "requests a second, above 0", 50.0)
    mailbox_items: int = _count(1, 10_000, 200)
    mailbox_bytes: int = _count(MAX_ITEM, 1 << 26, 262_144, "bytes")
    ring_changes: int = _count(1, 10_000, 256)
    log_level: LogLevel = _choice(LogLevel, "info")  # noqa: RUF009, an attrs field


_FIELDS = {field.name: field for field in attrs.fields(Settings)}


def load(
    flags: Source, environment: Mapping[str, str], file: Path | None = None
) -> Settings:
    """Read the settings; flags override the environment, which overrides the *file*.

    Raises `ConfigError` with a line for each unknown, missing or invalid setting: its
    name, where it was set and what was expected. No line shows a secret.
    """
    values = load_some(_FIELDS, environment, file, flags)
    if (values["jwt_secret"] is None) == (values["jwks"] is None):
        # With both, the token would choose how it is verified.
        raise ConfigError(
            "ROUNDEL_JWT_SECRET, ROUNDEL_JWKS: expected exactly one of them, "
            f"got {'none' if values['jwks'] is None else 'both'}"
        )
    settings = Settings(**values)
    scheme = settings.engine.partition(":")[0]
    if settings.workers > 1 and scheme in SINGLE_PROCESS_ENGINES:
        raise ConfigError(
            f"ROUNDEL_WORKERS: expected 1, since the engine {scheme} keeps mailboxes "
            f"in one process, got {settings.workers}"
        )
    return settings


def load_some(
    names: Iterable[str],
    environment: Mapping[str, str],
    file: Path | None = None,
    flags: Source | None = None,
) -> dict[str, Any]:
    """Read only the settings with these *names*, for a command that needs no others."""
    sources: list[tuple[str, Source]] = [
        ("flag", flags or {}),
        ("environment", _from_environment(environment)),
        (str(file), _from_file(file) if file else {}),
    ]
    known = ", ".join(map(_variable, _FIELDS))
    errors = [
        f"{_variable(name)} ({origin}): unknown setting, expected {known}"
        for origin, source in sources
        for name in source
        if name not in _FIELDS
    ]
    values: dict[str, Any] = {}
    for name in names:
        field = _FIELDS[name]
        values[name] = field.default
        origin, source = next((each for each in sources if name in each[1]), ("", {}))
        if source:
            try:
                values[name] = _parse(field, source[name])
            except ValueError:
                errors.append(_invalid(field, origin, source[name]))
        elif field.default is attrs.NOTHING:
            expected = field.metadata["expected"]
            errors.append(f"{_variable(name)}: not set, expected {expected}")
    if errors:
        raise ConfigError(*errors)
    return values


def _from_environment(environment: Mapping[str, str]) -> Source:
    return {
        name.removeprefix(PREFIX).lower(): value
        for name, value in environment.items()
        if name.startswith(PREFIX) and name not in OTHER_VARIABLES
    }


def _from_file(file: Path) -> Source:
    try:
        return tomllib.loads(file.read_text())
    except (OSError, ValueError) as error:
        raise ConfigError(f"{file}: expected a TOML file: {error}") from None


def _parse(field: attrs.Attribute[Any], value: object) -> object:
    parsed = field.metadata["parse"](_as_text(value))
    if not field.metadata["is_valid"](parsed):
        raise ValueError
    return parsed


def _as_text(value: object) -> str:
    if isinstance(value, list) and all(isinstance(part, str) for part in value):
        return ",".join(value)
    if isinstance(value, bool) or not isinstance(value, str | int | float):
        raise ValueError  # noqa: TRY004, as the parsers raise it
    return str(value)


def _variable(name: str) -> str:
    return PREFIX + name.upper()


def _invalid(field: attrs.Attribute[Any], origin: str, value: object) -> str:
    got = "a value that is not shown" if field.metadata["secret"] else repr(value)
    expected = field.metadata["expected"]
    return f"{_variable(field.name)} ({origin}): expected {expected}, got {got}"
