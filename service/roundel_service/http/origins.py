"""The origins of pages (RFC 6454), and patterns for all hosts below one.

Both are kept as a browser serializes an origin, so that a comparison is one lookup.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from ipaddress import IPv4Address, IPv6Address

DEFAULT_PORTS = {"http": "80", "https": "443"}
"""The ports that browsers leave out of an origin, by scheme."""

MAX_ORIGIN = 300
"""Maximum length of an origin below a pattern; host names have up to 253 characters."""

_ORIGIN = re.compile(
    r"([a-z][a-z0-9+.-]*)://(\*\.)?(\[[0-9a-f:.]+\]|[^\s/?#@:*\\\[\]]*)(?::(\d{1,5}))?",
    re.ASCII | re.IGNORECASE,
)
_HOST = re.compile(r"[a-z0-9_-]{1,63}(?:\.[a-z0-9_-]{1,63})*")
_OPAQUE_HOST = re.compile(r"[A-Za-z0-9._-]+")
_BELOW = re.compile(
    r"([a-z][a-z0-9+.-]*://)((?:[a-z0-9_-]+\.)+[a-z0-9_-]+)((?::\d+)?)", re.ASCII
)


def parse_origin(text: str) -> str:
    """Return the origin or pattern *text* as browsers write it, or raise `ValueError`.

    A pattern like ``https://*.example.org`` is for the hosts one or more labels below.
    The host of a scheme that is not http or https may keep its case.
    """
    match = _ORIGIN.fullmatch(text)
    if match is None:
        raise ValueError
    scheme, wildcard, host, port = match[1].lower(), match[2] or "", match[3], match[4]
    if wildcard or scheme in DEFAULT_PORTS:
        host = _parse_host(host)
    elif not _OPAQUE_HOST.fullmatch(host) and (scheme, host) != ("file", ""):
        raise ValueError
    # Every site of a public suffix such as `com` would be allowed.
    if wildcard and not ("." in host or host == "localhost"):
        raise ValueError
    return f"{scheme}://{wildcard}{host}{_parse_port(scheme, port)}"


def patterns_of(origin: str) -> Iterator[str]:
    """Yield the patterns that *origin*, of an untrusted request, would match."""
    match = _BELOW.fullmatch(origin) if len(origin) <= MAX_ORIGIN else None
    if match is None:
        return
    scheme, host, port = match.groups()
    while "." in host:
        host = host.partition(".")[2]
        yield f"{scheme}*.{host}{port}"


def _parse_host(host: str) -> str:
    if host.startswith("["):
        return f"[{IPv6Address(host[1:-1])}]"
    if not host.isascii():
        import idna  # Needed by few settings.

        host = idna.encode(host, uts46=True).decode()
    host = host.lower()
    if not _HOST.fullmatch(host):
        raise ValueError
    # WHATWG URL 3.6: a host whose last label is a number is an IPv4 address.
    if host.rpartition(".")[2].isdigit():
        return f"{IPv4Address(host)}"
    return host


def _parse_port(scheme: str, port: str | None) -> str:
    if port is None or port == DEFAULT_PORTS.get(scheme):
        return ""
    if str(int(port)) != port or int(port) > 65_535:
        raise ValueError
    return f":{port}"
