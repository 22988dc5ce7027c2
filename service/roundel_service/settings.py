"""Settings: from flags, the environment and a TOML file, checked at the start."""

from __future__ import annotations

import re
import tomllib
from collections.abc import Callable, Iterator, Mapping
from ipaddress import ip_address
from pathlib import Path
from typing import Any, Literal, TypeAlias, final, get_args

import attrs

from .engines.cache import CACHE_BYTES
from .engines.valkey.url import parse_url
from .http.decoding import MAX_ITEM
from .identity.hmac_key import MIN_SECRET
from .identity.jwks import check_source

PREFIX = "ROUNDEL_"

Durability: TypeAlias = Literal["full", "normal", "off"]
LogLevel: TypeAlias = Literal["debug", "info", "warning", "error"]

Sources: TypeAlias = Mapping[str, object]
"""Values by the name of the setting, in lower case and without the prefix."""


@final
class ConfigError(Exception):
    """Settings that the service does not start with; one line for each."""

    def __init__(self, *lines: str) -> None:
        self.lines = lines
        super().__init__("\n".join(lines))


@final
@attrs.frozen
class Address:
    """A *host* and a *port*; port 0 is any free one."""

    host: str
    port: int

    def __str__(self) -> str:
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{host}:{self.port}"

    @property
    def is_loopback(self) -> bool:
        """Whether only this machine can reach it."""
        try:
            return ip_address(self.host).is_loopback
        except ValueError:
            return self.host == "localhost"


IS_SHARED = {
    "memory": False,
    "sqlite": False,
    # As `valkey://HOST`, with TLS, and of a cluster.
    **{
        f"{name}{tls}{cluster}": True
        for name in ("valkey", "redis")
        for tls in ("", "s")
        for cluster in ("", "+cluster")
    },
}
"""Whether several processes can use an engine at once, by the scheme of its setting."""

DEFAULT_BIND = Address("127.0.0.1", 8080)
DEFAULT_OPS_BIND = Address("127.0.0.1", 9180)


def _address(value: str) -> Address:
    host, separator, port = value.rpartition(":")
    if not separator or not host or not port.isdecimal() or int(port) > 65_535:
        raise ValueError
    return Address(host.removeprefix("[").removesuffix("]"), int(port))


def _address_or_none(value: str) -> Address | None:
    return _address(value) if value else None


def _origins(value: str) -> tuple[str, ...]:
    origins = tuple(origin.strip() for origin in value.split(","))
    if not all(_ORIGIN.fullmatch(origin) for origin in origins):
        raise ValueError
    return origins


def _engine(value: str) -> str:
    scheme, colon, _ = value.partition(":")
    if scheme == "memory" and not colon:
        return value
    if scheme == "sqlite" and colon:
        return value
    parse_url(value)
    return value


def _one_of(*words: str) -> Callable[[str], str]:
    def parse(value: str) -> str:
        if value not in words:
            raise ValueError
        return value

    return parse


def _keys(value: str) -> tuple[str, ...]:
    keys = tuple(key.strip() for key in value.split(","))
    if not all(key and key.isascii() and key.isprintable() for key in keys):
        raise ValueError
    return keys


def _secret(value: str) -> str:
    if len(value.encode()) < MIN_SECRET:
        raise ValueError
    return value


def _text(value: str) -> str:
    if not value:
        raise ValueError
    return value


def _seconds(value: str) -> float:
    seconds = float(value)
    if not 0 < seconds <= 86_400:
        raise ValueError
    return seconds


def _rate(value: str) -> float:
    rate = float(value)
    if not 0 < rate <= 1e9:
        raise ValueError
    return rate


def _count(low: int, high: int) -> Callable[[str], int]:
    def parse(value: str) -> int:
        number = int(value)
        if not low <= number <= high:
            raise ValueError
        return number

    return parse


def _setting(
    parse: Callable[[str], object],
    expected: str,
    *,
    default: Any = attrs.NOTHING,  # noqa: ANN401
    secret: bool = False,
) -> Any:  # noqa: ANN401, the type is declared at the field
    metadata = {"parse": parse, "expected": expected, "secret": secret}
    return attrs.field(default=default, metadata=metadata, repr=not secret)


# RFC 6454 6.2, as a browser writes it; so "*" and "null" are none.
_ORIGIN = re.compile(r"https?://[a-z0-9.\[\]:-]+", re.ASCII)
_SECONDS = "a number of seconds, above 0 and at most 86400"


@final
@attrs.frozen(kw_only=True)
class Settings:
    """Everything that can be set, by the names of the HTTP contract."""

    bind: Address = _setting(  # noqa: RUF009, an attrs field
        _address, "HOST:PORT", default=DEFAULT_BIND
    )
    ops_bind: Address | None = _setting(  # noqa: RUF009, an attrs field
        _address_or_none, "HOST:PORT, or nothing for none", default=DEFAULT_OPS_BIND
    )
    engine: str = _setting(
        # A URL may have a password.
        _engine,
        "memory, sqlite:PATH or valkey://HOST",
        default="sqlite:",
        secret=True,
    )
    durability: Durability = _setting(  # noqa: RUF009, an attrs field
        _one_of(*get_args(Durability)), "full, normal or off", default="full"
    )
    cache_bytes: int = _setting(
        _count(1 << 20, 1 << 40),
        "a count of bytes from 1048576 to 1099511627776",
        default=CACHE_BYTES,
    )
    user_ttl: int = _setting(
        _count(86_400, 1 << 31),
        "a count of seconds from 86400 to 2147483648",
        default=90 * 86_400,
    )
    workers: int = _setting(_count(1, 64), "a count from 1 to 64", default=1)
    producer_keys: tuple[str, ...] = _setting(
        _keys, "one or more keys of printable ASCII, separated by commas", secret=True
    )
    jwt_secret: str | None = _setting(
        _secret, f"a secret of at least {MIN_SECRET} bytes", default=None, secret=True
    )
    jwks: str | None = _setting(
        check_source,
        "a path, an https URL, or an http URL of loopback, without a password",
        default=None,
        secret=True,
    )
    jwt_audience: str | None = _setting(_text, "some text", default=None)
    jwt_issuer: str | None = _setting(_text, "some text", default=None)
    cors_origins: tuple[str, ...] = _setting(
        _origins, "origins like https://example.org, separated by commas", default=()
    )
    ping: float = _setting(_seconds, _SECONDS, default=25.0)
    max_age: float = _setting(_seconds, _SECONDS, default=600.0)
    write_timeout: float = _setting(_seconds, _SECONDS, default=30.0)
    drain_timeout: float = _setting(_seconds, _SECONDS, default=20.0)
    max_streams: int = _setting(
        _count(1, 1_000_000), "a count from 1 to 1000000", default=20_000
    )
    max_streams_per_user: int = _setting(
        _count(1, 10_000), "a count from 1 to 10000", default=32
    )
    producer_rate: float = _setting(
        _rate, "notifications a second, above 0", default=20_000.0
    )
    user_rate: float = _setting(_rate, "calls a second, above 0", default=50.0)
    mailbox_items: int = _setting(
        _count(1, 10_000), "a count from 1 to 10000", default=200
    )
    mailbox_bytes: int = _setting(
        _count(MAX_ITEM, 1 << 26),
        f"a count of bytes from {MAX_ITEM} to 67108864",
        default=262_144,
    )
    ring_changes: int = _setting(
        _count(1, 10_000), "a count from 1 to 10000", default=256
    )
    log_level: LogLevel = _setting(  # noqa: RUF009, an attrs field
        _one_of(*get_args(LogLevel)), "debug, info, warning or error", default="info"
    )


_FIELDS = {field.name: field for field in attrs.fields(Settings)}


def load(
    flags: Sources, environment: Mapping[str, str], file: Path | None = None
) -> Settings:
    """Read the settings; a flag beats the environment, which beats the *file*.

    Raises `ConfigError`, with a line for each setting that is unknown, missing or
    wrong: its name, where it was set and what was expected. No line shows a secret.
    """
    values = _read(tuple(_FIELDS), flags, environment, file)
    if (values["jwt_secret"] is None) == (values["jwks"] is None):
        # Both would let a token choose how it is verified.
        raise ConfigError(
            "ROUNDEL_JWT_SECRET, ROUNDEL_JWKS: expected exactly one of them, "
            f"got {'none' if values['jwks'] is None else 'both'}"
        )
    settings = Settings(**values)
    _check_sharing(settings)
    return settings


def _check_sharing(settings: Settings) -> None:
    scheme = settings.engine.partition(":")[0]
    if settings.workers > 1 and not IS_SHARED[scheme]:
        raise ConfigError(
            f"ROUNDEL_WORKERS: expected 1, since the engine {scheme} keeps mailboxes "
            f"in one process, got {settings.workers}"
        )


def load_some(
    names: tuple[str, ...],
    environment: Mapping[str, str],
    file: Path | None = None,
    flags: Sources | None = None,
) -> Mapping[str, Any]:
    """Read just the settings of these *names*, for commands that need no more."""
    return _read(names, flags or {}, environment, file)


def _read(
    names: tuple[str, ...],
    flags: Sources,
    environment: Mapping[str, str],
    file: Path | None,
) -> dict[str, Any]:
    sources: list[tuple[str, Sources]] = [
        ("flag", flags),
        ("environment", _from_environment(environment)),
        (str(file), _from_file(file) if file else {}),
    ]
    lines = [line for place, source in sources for line in _unknown(place, source)]
    values: dict[str, Any] = {}
    for name in names:
        field = _FIELDS[name]
        found = next(((p, s[name]) for p, s in sources if name in s), None)
        if found is None:
            lines += _missing(field)
            values[name] = field.default
            continue
        try:
            values[name] = field.metadata["parse"](_as_text(found[1]))
        except ValueError:
            lines.append(_wrong(field, *found))
    if lines:
        raise ConfigError(*lines)
    return values


def _from_environment(environment: Mapping[str, str]) -> Sources:
    return {
        name.removeprefix(PREFIX).lower(): value
        for name, value in environment.items()
        if name.startswith(PREFIX)
    }


def _from_file(file: Path) -> Sources:
    try:
        return tomllib.loads(file.read_text())
    except (OSError, ValueError) as error:
        raise ConfigError(f"{file}: expected a TOML file: {error}") from None


def _as_text(value: object) -> str:
    if isinstance(value, list) and all(isinstance(part, str) for part in value):
        return ",".join(value)
    if isinstance(value, bool) or not isinstance(value, str | int | float):
        raise ValueError  # noqa: TRY004, every parser says so of a bad value
    return str(value)


def _name(name: str) -> str:
    return PREFIX + name.upper()


def _unknown(place: str, source: Sources) -> Iterator[str]:
    for name in source:
        if name not in _FIELDS:
            yield f"{_name(name)} ({place}): unknown; there are {_all_names()}"


def _all_names() -> str:
    return ", ".join(_name(name) for name in _FIELDS)


def _missing(field: attrs.Attribute[Any]) -> list[str]:
    if field.default is not attrs.NOTHING:
        return []
    return [f"{_name(field.name)}: not set, expected {field.metadata['expected']}"]


def _wrong(field: attrs.Attribute[Any], place: str, value: object) -> str:
    got = "something else" if field.metadata["secret"] else repr(value)
    expected = field.metadata["expected"]
    return f"{_name(field.name)} ({place}): expected {expected}, got {got}"
