"""The addresses of listeners: host and port, Unix socket, or inherited socket."""

from __future__ import annotations

from collections.abc import Sequence
from ipaddress import ip_address
from typing import TypeAlias, final

import attrs

MAX_UNIX_PATH = 107
"""Maximum length of the path of a Unix socket on Linux, in bytes (unix(7))."""

FILE_DESCRIPTORS = range(3, 1 << 20)
"""Numbers of inherited sockets; 0 to 2 are the standard streams."""

PORTS = range(65_536)


@final
@attrs.frozen
class Address:
    """A *host* and a *port*; port 0 means any free port."""

    host: str
    port: int

    def __str__(self) -> str:
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{host}:{self.port}"


@final
@attrs.frozen
class UnixAddress:
    """The *path* of a Unix domain socket."""

    path: str

    def __str__(self) -> str:
        return f"unix:{self.path}"


@final
@attrs.frozen
class InheritedSocket:
    """The *number* of a file descriptor that the parent process passes."""

    number: int

    def __str__(self) -> str:
        return f"fd:{self.number}"


ListenAddress: TypeAlias = Address | UnixAddress | InheritedSocket


def parse_addresses(text: str) -> tuple[ListenAddress, ...]:
    """Return the addresses in *text*, separated by commas; none if it is empty.

    Raises `ValueError` for another form, and for an address that occurs twice.
    """
    if not text:
        return ()
    addresses = tuple(_parse(part.strip()) for part in text.split(","))
    if repeated(addresses):
        raise ValueError("expected each address once")
    return addresses


def is_loopback(host: str) -> bool:
    """Return whether only this machine can reach *host*."""
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def repeated(addresses: Sequence[ListenAddress]) -> ListenAddress | None:
    """Return an address that occurs twice, if any."""
    # Port 0 selects another port each time.
    fixed = [each for each in addresses if getattr(each, "port", None) != 0]
    return next((each for each in fixed if fixed.count(each) > 1), None)


def _parse(text: str) -> ListenAddress:
    scheme, _, rest = text.partition(":")
    if scheme == "unix":
        return UnixAddress(_check_path(rest))
    if scheme == "fd":
        return InheritedSocket(_number(rest, FILE_DESCRIPTORS))
    host, _, port = text.rpartition(":")
    is_bracketed = host.startswith("[") and host.endswith("]")
    # Without brackets, the last group of an IPv6 address would be read as a port.
    if is_bracketed != (":" in host):
        raise ValueError("expected HOST:PORT, with brackets around an IPv6 host")
    host = host[1:-1] if is_bracketed else host
    if not host or any(each in "[]/*" or each.isspace() for each in host):
        raise ValueError("expected a host")
    host.encode("idna")  # As `getaddrinfo()` does: UnicodeError is a ValueError.
    return Address(host, _number(port, PORTS))


def _check_path(path: str) -> str:
    # A path that begins with NUL would be an abstract name, without permissions.
    if not path or "\0" in path or len(path.encode()) > MAX_UNIX_PATH:
        raise ValueError(f"expected a path of at most {MAX_UNIX_PATH} bytes")
    return path


def _number(text: str, allowed: range) -> int:
    if not (text.isascii() and text.isdecimal()) or int(text) not in allowed:
        raise ValueError(f"expected {allowed[0]} to {allowed[-1]}")
    return int(text)
