"""URLs of stores."""

from __future__ import annotations

import pytest

from roundel_service.engines.valkey.engine import ValkeyEngine
from roundel_service.engines.valkey.url import StoreUrl, parse_url


def at(*addresses: tuple[str, int], **fields) -> StoreUrl:
    return StoreUrl(addresses=addresses, **fields)


@pytest.mark.parametrize(
    ("url", "expected"),
    [
        ("valkey://host", at(("host", 6379))),
        ("redis://host:7000/2", at(("host", 7000), database=2)),
        ("rediss://host", at(("host", 6379), has_tls=True)),
        ("valkeys://[::1]:7000", at(("::1", 7000), has_tls=True)),
        ("valkeys://h?ca=/a%20b", at(("h", 6379), has_tls=True, ca="/a b")),
        (
            "rediss+cluster://h?cert=/c&key=/k",
            at(("h", 6379), has_tls=True, is_cluster=True, cert="/c", key="/k"),
        ),
        ("unix:///run/s.sock", StoreUrl(socket="/run/s.sock")),
        (
            "valkey+unix://u:p@/a%20b?db=2&prefix=two",
            StoreUrl(socket="/a b", user="u", password="p", database=2, prefix="two"),
        ),
        ("redis+unix:///s?db=1", StoreUrl(socket="/s", database=1)),
        ("valkey://:p%40ss@host", at(("host", 6379), password="p@ss")),
        ("valkey://u:p@host", at(("host", 6379), user="u", password="p")),
        ("valkey://a:1,b:2,c", at(("a", 1), ("b", 2), ("c", 6379))),
        ("valkey+cluster://a,b", at(("a", 6379), ("b", 6379), is_cluster=True)),
        (
            "rediss+cluster://u:p@a:1/?prefix=two",
            at(
                ("a", 1),
                user="u",
                password="p",
                has_tls=True,
                is_cluster=True,
                prefix="two",
            ),
        ),
    ],
)
def test_valid_url(url, expected):
    """Each documented form of the URL is parsed."""
    assert expected == parse_url(url)


@pytest.mark.parametrize(
    "url",
    [
        "valkey://",
        "valkey://secret@host",
        "valkeys://u:secret@host?ca=/a%00b",
        "valkey://u:secret@host/x",
        "valkey://u:secret@host:port",
        "valkey://u:secret@host:0",
        "valkey://u:secret@host:70000",
        "valkey://u:secret@a,,b",
        "valkey://u:secret@[::1",
        "valkey://u:secret@host?prefix=",
        "valkey://u:secret@host?prefix=a&prefix=b",
        "valkey://u:secret@host?prefix={s}",
        "valkey://u:secret@host?timeout=1",
        "valkey://u:secret@host?ca=/without/tls",
        "valkeys://u:secret@host?ca=",
        "valkeys://u:secret@host?ca=/a&ca=/b",
        "valkeys://u:secret@host?tls=insecure",
        "valkeys://u:secret@host?cert=/c",
        "valkeys://u:secret@host?key=/k",
        "valkeys://u:secret@host?cert=/c&key=",
        "valkey://u:secret@host?cert=/c&key=/k",
        "unix://u:secret@host/run/s.sock",
        "unix://u:secret@",
        "unix://u:secret@/",
        "unix://u:secret@/s?db=x",
        "unix://u:secret@/s?ca=/a",
        "unix+cluster://u:secret@/s",
        "unixs://u:secret@/s",
        "valkey://u:secret@host#0",
        "valkey+cluster://u:secret@host/1",
        "valkey+sentinel://u:secret@host",
        "http://u:secret@host",
        "u:secret@host",
    ],
)
def test_invalid_url(url):
    """An invalid URL raises ValueError, and the message omits the password."""
    with pytest.raises(ValueError, match="expected valkey://") as caught:
        ValkeyEngine(url)

    assert "secret" not in str(caught.value)
    assert caught.value.__cause__ is None


def test_str_and_repr_omit_the_password():
    """Neither str() nor repr() contains the password."""
    url = parse_url("valkey://u:secret@host")

    assert "host:6379" == str(url)
    assert "secret" not in repr(url)


def test_str_of_a_socket():
    """The name of a store with a Unix socket is the path."""
    assert "/run/s.sock" == str(parse_url("unix://u:secret@/run/s.sock"))
