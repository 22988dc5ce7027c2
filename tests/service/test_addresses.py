"""Addresses of listeners: their text forms."""

from __future__ import annotations

import pytest

from roundel_service.addresses import (
    Address,
    InheritedSocket,
    UnixAddress,
    is_loopback,
    parse_addresses,
)


@pytest.mark.parametrize(
    ("text", "addresses"),
    [
        ("", ()),
        ("h:1", (Address("h", 1),)),
        ("localhost:0", (Address("localhost", 0),)),
        ("[::]:8080", (Address("::", 8080),)),
        ("[fe80::1%eth0]:65535", (Address("fe80::1%eth0", 65_535),)),
        ("unix:/run/r.sock", (UnixAddress("/run/r.sock"),)),
        ("unix:a b:c.sock", (UnixAddress("a b:c.sock"),)),
        ("fd:3", (InheritedSocket(3),)),
        ("h:1,unix:r, fd:4", (Address("h", 1), UnixAddress("r"), InheritedSocket(4))),
        ("h:0,h:0", (Address("h", 0), Address("h", 0))),
    ],
)
def test_address_is_read_and_written(text, addresses):
    """`str()` of an address is the text that it was parsed from."""
    assert addresses == parse_addresses(text)
    assert text.replace(", ", ",") == ",".join(map(str, addresses))


@pytest.mark.parametrize(
    "text",
    [
        *("8080", ":8080", "h", "h:", "h:x", "h:-1", "h:65536", "h:²", "h :1", "h:1 2"),
        *("::1:80", "::1", "[::1]", "[h]:1", "[]:1", "a]:1", "[::1:80"),
        *("http://h:1", "h:1/", "unix:", "unix:\0name", f"unix:/{'x' * 107}"),
        *("unix:\udc80" * 40, "fd:", "fd:x", "fd:-1", "fd:0", "fd:2", "fd:1048576"),
        *("fd://3", ",", "h:1,", ",h:1", "h:1,,h:2", "h:1;h:2"),
        *("h:1,h:1", "unix:r,unix:r", "fd:3,fd:3"),
    ],
)
def test_other_text_is_refused(text):
    """A typing error is an error of the settings, and not of the system later."""
    with pytest.raises(ValueError):  # noqa: PT011
        parse_addresses(text)


@pytest.mark.parametrize(
    ("host", "loopback"),
    [
        ("127.0.0.1", True),
        ("127.9.9.9", True),
        ("::1", True),
        ("localhost", True),
        ("0.0.0.0", False),
        ("::", False),
        ("192.0.2.1", False),
        ("example.org", False),
    ],
)
def test_loopback_addresses_are_recognized(host, loopback):
    """Of the host names, only `localhost` counts as loopback."""
    assert loopback == is_loopback(host)
