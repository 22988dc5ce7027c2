"""The URL of a store. No error message and no repr contains its password."""

from __future__ import annotations

import re
from typing import Final, final
from urllib.parse import SplitResult, parse_qsl, unquote, urlsplit

import attrs

EXPECTED: Final = (
    "valkey://[USER:PASSWORD@]HOST[:PORT][,HOST[:PORT]...][/DB][?prefix=NAME], where "
    "valkey may be redis, valkeys or rediss (TLS, which allows ca=FILE, and cert=FILE "
    "with key=FILE), each also with +cluster; or "
    "unix://[USER:PASSWORD@]/PATH[?db=DB&prefix=NAME]"
)

_SCHEME = re.compile(r"(valkey|redis)(s?)(\+cluster)?")
_UNIX_SCHEMES: Final = ("unix", "valkey+unix", "redis+unix")
_PREFIX = re.compile(r"[A-Za-z0-9._-]{1,64}", re.ASCII)
_DEFAULT_PORT: Final = 6379


@final
@attrs.frozen(kw_only=True)
class StoreUrl:
    """The *addresses* of a store, its credentials, and the *prefix* of all keys.

    The file *ca* contains the trusted certificate authorities; by default the
    system's are trusted. The files *cert* and *key* prove the client's identity. A
    store with a *socket*, the path of a Unix socket, has no addresses.
    """

    addresses: tuple[tuple[str, int], ...] = ()
    socket: str | None = None
    user: str | None = None
    password: str | None = attrs.field(default=None, repr=False)
    database: int = 0
    has_tls: bool = False
    ca: str | None = None
    cert: str | None = None
    key: str | None = None
    is_cluster: bool = False
    prefix: str = "roundel"

    def __str__(self) -> str:
        """Return the addresses or the socket, without the credentials."""
        if self.socket is not None:
            return self.socket
        return ",".join(f"{host}:{port}" for host, port in self.addresses)


def parse_url(url: str) -> StoreUrl:
    """Parse the URL of a store; raises `ValueError` without the URL in its message."""
    try:
        url.encode()  # The client cannot send a lone surrogate.
        return _parse(urlsplit(url))
    except ValueError:
        # An error of urlsplit() can contain the password.
        raise ValueError(f"expected {EXPECTED}") from None


def _parse(parts: SplitResult) -> StoreUrl:
    userinfo, at, hosts = parts.netloc.rpartition("@")
    user, colon, password = userinfo.partition(":")
    query = _parse_query(parts.query)
    prefix = query.pop("prefix", "roundel")
    if (at and not colon) or parts.fragment or not _PREFIX.fullmatch(prefix):
        raise ValueError
    if "\0" in unquote(parts.geturl()):  # No path has a NUL.
        raise ValueError
    common = StoreUrl(
        user=unquote(user) or None, password=unquote(password) or None, prefix=prefix
    )
    if parts.scheme in _UNIX_SCHEMES:
        return _with_socket(common, hosts, parts.path, query)
    return _with_addresses(common, parts.scheme, hosts, parts.path, query)


def _parse_query(text: str) -> dict[str, str]:
    """Return the parameters of the query; each may occur once and is not empty."""
    if not text:
        return {}
    pairs = parse_qsl(text, keep_blank_values=True, strict_parsing=True)
    query = dict(pairs)
    if len(query) < len(pairs) or "" in query.values():
        raise ValueError
    return query


def _with_socket(
    common: StoreUrl, host: str, path: str, query: dict[str, str]
) -> StoreUrl:
    database = query.pop("db", "0")
    if host or path in ("", "/") or query or not database.isdecimal():
        raise ValueError
    return attrs.evolve(common, socket=unquote(path), database=int(database))


def _with_addresses(
    common: StoreUrl, scheme: str, hosts: str, path: str, query: dict[str, str]
) -> StoreUrl:
    match = _SCHEME.fullmatch(scheme)
    database = path.removeprefix("/") or "0"
    ca, cert, key = (query.pop(name, None) for name in ("ca", "cert", "key"))
    if (
        match is None
        or query
        or ((ca or cert) and not match[2])
        or (cert is None) != (key is None)
        or not database.isdecimal()
        or (match[3] and database != "0")
    ):
        raise ValueError
    return attrs.evolve(
        common,
        addresses=tuple(_parse_address(host) for host in hosts.split(",")),
        database=int(database),
        has_tls=bool(match[2]),
        is_cluster=bool(match[3]),
        ca=ca,
        cert=cert,
        key=key,
    )


def _parse_address(text: str) -> tuple[str, int]:
    # An IPv6 address contains colons and is in brackets (RFC 3986 3.2.2).
    match = re.fullmatch(r"(\[[0-9a-fA-F:.]+\]|[^\[\]:]+)(?::(\d{1,5}))?", text)
    if match is None or not 0 < (port := int(match[2] or _DEFAULT_PORT)) <= 65_535:
        raise ValueError
    return match[1].strip("[]"), port
