"""A store over TLS is one whose certificate is verified, or none at all."""

from __future__ import annotations

import os
import ssl
import subprocess
import sys
from contextlib import contextmanager

import pytest
import trio

from roundel_service.engines.base import EngineUnavailable
from roundel_service.engines.valkey.engine import ValkeyEngine
from roundel_service.operator.doctor import examine
from support import valkey_server
from support.certificates import Authority
from support.ports import reserved_port
from support.valkey_nodes import BOUND, note

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def authority(tmp_path_factory):
    return Authority(tmp_path_factory.mktemp("authority"))


@pytest.fixture
def stranger(tmp_path):
    """Make an authority of another name, that the server's is not signed by."""
    return Authority(tmp_path, "a stranger")


@contextmanager
def serving(authority, *names, more=()):
    """Run a server whose certificate is for *names*."""
    certificate, key = authority.issue(*names)
    own = ["--tls-cert-file", str(certificate), "--tls-key-file", str(key)]
    own += ["--tls-ca-cert-file", str(authority.file), "--tls-auth-clients", "no"]
    context = ssl.create_default_context(cafile=authority.file)
    context.check_hostname = False
    with valkey_server.server("redis", *own, *more, tls=context) as made:
        yield made


@pytest.fixture(scope="module")
def tls():
    """Skip where the server was built without; in CI, where it must not be, fail."""
    valkey_server.needed_tls("redis")


@pytest.fixture(scope="module")
def store(authority, tls):
    with serving(authority, "127.0.0.1", "localhost") as made:
        yield made


async def read(url):
    """Return the number of a mailbox at the store, of which there is one item."""
    engine = ValkeyEngine(url)
    async with trio.open_nursery() as nursery:
        await nursery.start(engine.run)
        await engine.apply([("alice", note("hello"))])
        record = await engine.read("alice")
        nursery.cancel_scope.cancel()
    return len(record.mailbox.items)


async def refusal(url):
    """Return why the store is not used, which is said in bounded time."""
    engine = ValkeyEngine(url)
    async with trio.open_nursery() as nursery:
        await nursery.start(engine.run)
        began = trio.current_time()
        with pytest.raises(EngineUnavailable) as caught:
            await engine.check()
        assert trio.current_time() - began < BOUND
        with pytest.raises(EngineUnavailable):
            await engine.read("alice")
        nursery.cancel_scope.cancel()
    return str(caught.value)


@pytest.mark.parametrize("form", ["valkeys", "rediss"])
@pytest.mark.parametrize("host", ["127.0.0.1", "localhost"])
async def test_store_is_used_over_tls(store, authority, form, host):
    """Whom the named authority has signed is trusted, under each of its names."""
    url = f"{form}://{host}:{store.port}?ca={authority.file}"

    assert 1 == await read(url)
    assert await findings(url) == ("ok", "redis")


async def test_node_of_a_cluster_is_used_over_tls(authority, tls):
    """A cluster is asked for its nodes over TLS, and they as well."""
    with reserved_port() as bus:
        more = ["--cluster-enabled", "yes", "--cluster-port", f"{bus}"]
        more += ["--tls-cluster", "yes"]
        with serving(authority, "127.0.0.1", more=more) as node:
            node.ask("CLUSTER", "ADDSLOTSRANGE", "0", f"{valkey_server.SLOTS - 1}")
            valkey_server.until(
                lambda: "cluster_state:ok" in node.ask("CLUSTER", "INFO")
            )

            url = f"valkeys+cluster://{node.address}?ca={authority.file}"
            assert 1 == await read(url)


SYSTEM = """
import sys, trio
from roundel_service.engines.valkey.engine import ValkeyEngine
async def check():
    engine = ValkeyEngine(sys.argv[1])
    async with trio.open_nursery() as nursery:
        await nursery.start(engine.run)
        await engine.check()
        nursery.cancel_scope.cancel()
trio.run(check)
"""


def test_authority_of_the_system_is_trusted_unless_another_is_named(
    store, authority, stranger
):
    """Without a file the certificates of the system count, and else they do not."""
    outcomes = [
        # Its own process, since the client reads those of the system once.
        subprocess.run(
            [sys.executable, "-c", SYSTEM, store.url + query],
            env={**os.environ, "SSL_CERT_FILE": str(authority.file)},
            capture_output=True,
            text=True,
            check=False,
        )
        for query in ("", f"?ca={stranger.file}")
    ]

    assert [0, 1] == [done.returncode for done in outcomes]
    assert "certificate" in outcomes[1].stderr.splitlines()[-2]


async def findings(url):
    """Return how the engine is, and the first words that the doctor has for it."""
    found = {finding.subject: finding for finding in await examine(url)}
    return found["engine"].level, found["engine"].message.partition(" ")[0]


async def test_authority_that_is_not_known_is_not_trusted(store, stranger):
    """Neither a stranger's signature nor one the system does not know will do."""
    for query in (f"?ca={stranger.file}", ""):
        told = await refusal(f"{store.url}{query}")

        assert "certificate" in told
        assert f"{store.address}: no TLS" in told
        (finding,) = await examine(f"{store.url}{query}")
        assert ("failure", told) == (finding.level, finding.message)


async def test_certificate_of_another_host_is_not_trusted(authority, tls):
    """Who is signed for another name is not who was asked for."""
    with serving(authority, "elsewhere.test") as other:
        url = f"{other.url}?ca={authority.file}"
        told = await refusal(url)

        assert "127.0.0.1" in told.partition("no TLS")[2]
        assert "certificate is not valid" in told
        (finding,) = await examine(url)
        assert ("failure", told) == (finding.level, finding.message)


async def test_server_without_tls_is_told_nothing(authority):
    """Where no TLS is spoken there is no store: nothing is ever sent in the clear."""
    with valkey_server.server("redis") as plain:
        url = f"valkeys://user:a-secret@{plain.address}?ca={authority.file}"
        seen = int(plain.says("stats", "total_commands_processed"))
        told = await refusal(url)

        # Its own question is one of them.
        assert seen + 1 == int(plain.says("stats", "total_commands_processed"))
        assert "no TLS" in told
        assert "a-secret" not in told
        assert ["failure"] == [finding.level for finding in await examine(url)]


@pytest.mark.parametrize(
    ("content", "words"),
    [(None, "No such file"), (b"none", "certificate")],
    ids=["missing", "without certificates"],
)
async def test_file_of_the_authority_has_to_be_one(store, tmp_path, content, words):
    """What is named and cannot be used is an error; the system's do not replace it."""
    file = tmp_path / "ca.pem"
    if content is not None:
        file.write_bytes(content)
    url = f"{store.url}?ca={file}"
    told = await refusal(url)

    assert f"ca={file}" in told
    assert words in told
    assert [("failure", told)] == [
        (one.level, one.message) for one in await examine(url)
    ]


async def test_store_that_is_away_is_not_called_untrusted(authority):
    """Whoever does not answer at all has not shown a certificate."""
    with reserved_port() as nobody:
        told = await refusal(f"valkeys://127.0.0.1:{nobody}?ca={authority.file}")

    assert "no TLS" not in told


async def test_store_that_is_signed_anew_is_found_without_a_restart(
    authority, stranger, tmp_path, tls
):
    """The file is read again when the store is connected again."""
    file = tmp_path / "known.pem"
    file.write_bytes(stranger.file.read_bytes())
    with serving(authority, "127.0.0.1") as store:
        engine = ValkeyEngine(f"{store.url}?ca={file}")
        async with trio.open_nursery() as nursery:
            await nursery.start(engine.run)
            with pytest.raises(EngineUnavailable):
                await engine.check()
            file.write_bytes(authority.file.read_bytes())
            with trio.fail_after(valkey_server.BOUND):
                while not await is_well(engine):  # noqa: ASYNC110, it is asked
                    await trio.sleep(0.1)
            nursery.cancel_scope.cancel()


async def is_well(engine):
    try:
        await engine.check()
    except EngineUnavailable:
        return False
    return True
