"""The URL of a store. No error message and no repr contains its password."""

from __future__ import annotations

import re
from typing import Final, final
from urllib.parse import SplitResult, parse_qs, unquote, urlsplit

import attrs

EXPECTED: Final = (
    "valkey://[USER:PASSWORD@]HOST[:PORT][,HOST[:PORT]...][/DB][?prefix=NAME], where "
    "valkey may be redis, valkeys or rediss (TLS, which allows ca=FILE), each also "
    "with +cluster"
)

_SCHEME = re.compile(r"(valkey|redis)(s?)(\+cluster)?")
_PREFIX = re.compile(r"[A-Za-z0-9._-]{1,64}", re.ASCII)
_DEFAULT_PORT: Final = 6379


@final
@attrs.frozen(kw_only=True)
class StoreUrl:
    """The *addresses* of a store, its credentials, and the *prefix* of all keys.

    The file *ca* contains the trusted certificate authorities; by default the
    system's are trusted.
    """

    addresses: tuple[tuple[str, int], ...]
    user: str | None = None
    password: str | None = attrs.field(default=None, repr=False)
    database: int = 0
    has_tls: bool = False
    ca: str | None = None
    is_cluster: bool = False
    prefix: str = "roundel"

    def __str__(self) -> str:
        """Return the addresses, without the credentials."""
        return ",".join(f"{host}:{port}" for host, port in self.addresses)


def parse_url(url: str) -> StoreUrl:
    """Parse the URL of a store; raises `ValueError` without the URL in its message."""
    try:
        return _parse(urlsplit(url))
    except ValueError:
        # An error of urlsplit() can contain the password.
        raise ValueError(f"expected {EXPECTED}") from None


def _parse(parts: SplitResult) -> StoreUrl:
    scheme = _SCHEME.fullmatch(parts.scheme)
    userinfo, at, hosts = parts.netloc.rpartition("@")
    user, colon, password = userinfo.partition(":")
    query: dict[str, list[str]] = {}
    if parts.query:
        query = parse_qs(parts.query, keep_blank_values=True, strict_parsing=True)
    prefixes = query.pop("prefix", ["roundel"])
    ca = query.pop("ca", [])
    path = parts.path.removeprefix("/") or "0"
    if (
        scheme is None
        or (at and not colon)
        or query
        or parts.fragment
        or len(prefixes) != 1
        or not _PREFIX.fullmatch(prefixes[0])
        or len(ca) > (1 if scheme[2] else 0)
        or "" in ca
        or not path.isdecimal()
        or (scheme[3] and path != "0")
    ):
        raise ValueError
    return StoreUrl(
        addresses=tuple(_parse_address(host) for host in hosts.split(",")),
        user=unquote(user) or None,
        password=unquote(password) or None,
        database=int(path),
        has_tls=bool(scheme[2]),
        ca=ca[0] if ca else None,
        is_cluster=bool(scheme[3]),
        prefix=prefixes[0],
    )


def _parse_address(text: str) -> tuple[str, int]:
    # An IPv6 address contains colons and is in brackets (RFC 3986 3.2.2).
    match = re.fullmatch(r"(\[[0-9a-fA-F:.]+\]|[^\[\]:]+)(?::(\d{1,5}))?", text)
    if match is None or not 0 < (port := int(match[2] or _DEFAULT_PORT)) <= 65_535:
        raise ValueError
    return match[1].strip("[]"), port
