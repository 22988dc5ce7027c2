"""The files for browsers below `/roundel/`."""

from __future__ import annotations

import base64
import gzip
import hashlib

from support.service import body

MAX_SIZE = 6 * 1024
"""Limit of the module as a page loads it, in bytes of gzip."""


async def test_file_is_revalidated_at_its_name(autojump_clock, world):
    """The module needs no credentials, and any origin may import it."""
    file = await world.anonymous.request("GET", "/roundel/roundel.js")
    again = await world.anonymous.request(
        "GET",
        "/roundel/roundel.js",
        headers={"If-None-Match": file.headers["etag"]},
    )

    assert (200, 304) == (file.status, again.status)
    assert "text/javascript; charset=utf-8" == file.headers["content-type"]
    assert "public, no-cache" == file.headers["cache-control"]
    assert "*" == file.headers["access-control-allow-origin"]
    assert "cross-origin" == file.headers["cross-origin-resource-policy"]


async def test_index_names_files_that_never_change(autojump_clock, world):
    """The URL with the hash is cached for a year, and has the listed integrity."""
    index = body(await world.anonymous.request("GET", "/roundel/"))
    module = index["roundel.js"]
    file = await world.anonymous.request("GET", module["url"])
    digest = hashlib.sha384(file.body).digest()

    assert "public, max-age=31536000, immutable" == file.headers["cache-control"]
    assert f"sha384-{base64.b64encode(digest).decode()}" == module["integrity"]
    assert digest.hex()[:16] in module["url"]


async def test_module_is_small(autojump_clock, world):
    """A page loads at most 6 KB, without comments."""
    file = await world.anonymous.request("GET", "/roundel/roundel.js")

    assert len(gzip.compress(file.body, 9)) <= MAX_SIZE
    assert not any(line.startswith((b"//", b"/*")) for line in file.body.splitlines())
    assert b"export function connect(" in file.body
