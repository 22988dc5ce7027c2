"""TLS to the store: certificates and host names are always verified."""

from __future__ import annotations

import os
import ssl
import subprocess
import sys
from contextlib import contextmanager

import pytest
import trio
from cryptography.hazmat.primitives import serialization

from roundel_service.engines.base import EngineUnavailable
from roundel_service.engines.valkey.engine import ValkeyEngine
from roundel_service.operator.doctor import examine
from support import valkey_server
from support.certificates import Authority
from support.ports import reserved_port
from support.valkey_nodes import MAX_LATENCY, notification

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def authority(tmp_path_factory):
    return Authority(tmp_path_factory.mktemp("authority"))


@pytest.fixture
def other_authority(tmp_path):
    """Create an authority that did not sign the server's certificate."""
    return Authority(tmp_path, "other")


@contextmanager
def tls_server(authority, *names, arguments=(), client=None):
    """Run a server with a certificate for *names*; it may require one of a *client*."""
    certificate, key = authority.issue(*names)
    options = ["--tls-cert-file", str(certificate), "--tls-key-file", str(key)]
    options += ["--tls-ca-cert-file", str(authority.file)]
    options += ["--tls-auth-clients", "yes" if client else "no"]
    context = ssl.create_default_context(cafile=authority.file)
    context.check_hostname = False
    if client:
        context.load_cert_chain(*client)
    with valkey_server.server("redis", *options, *arguments, tls=context) as server:
        yield server


@pytest.fixture(scope="module")
def tls():
    """Skip the test if the server was built without TLS; in CI, fail it."""
    valkey_server.require_tls("redis")


@pytest.fixture(scope="module")
def store(authority, tls):
    with tls_server(authority, "127.0.0.1", "localhost") as server:
        yield server


async def write_and_count(url):
    """Write an item to a mailbox, and return the number of its items."""
    engine = ValkeyEngine(url)
    async with trio.open_nursery() as nursery:
        await nursery.start(engine.run)
        await engine.apply([("alice", notification("hello"))])
        record = await engine.read("alice")
        nursery.cancel_scope.cancel()
    return len(record.mailbox.items)


async def connect_error(url):
    """Return why the store is unavailable; all calls must fail in bounded time."""
    engine = ValkeyEngine(url)
    async with trio.open_nursery() as nursery:
        await nursery.start(engine.run)
        start = trio.current_time()
        with pytest.raises(EngineUnavailable) as caught:
            await engine.check()
        assert trio.current_time() - start < MAX_LATENCY
        with pytest.raises(EngineUnavailable):
            await engine.read("alice")
        nursery.cancel_scope.cancel()
    return str(caught.value)


@pytest.mark.parametrize("scheme", ["valkeys", "rediss"])
@pytest.mark.parametrize("host", ["127.0.0.1", "localhost"])
async def test_trusted_certificate(store, authority, scheme, host):
    """A certificate of the configured authority is accepted for each of its names."""
    url = f"{scheme}://{host}:{store.port}?ca={authority.file}"

    assert 1 == await write_and_count(url)
    assert await engine_finding(url) == ("ok", "redis")


async def test_cluster_over_tls(authority, tls):
    """The connections to the nodes of a cluster use TLS."""
    with reserved_port() as bus:
        options = ["--cluster-enabled", "yes", "--cluster-port", f"{bus}"]
        options += ["--tls-cluster", "yes"]
        with tls_server(authority, "127.0.0.1", arguments=options) as node:
            node.execute("CLUSTER", "ADDSLOTSRANGE", "0", f"{valkey_server.SLOTS - 1}")
            valkey_server.wait_until(
                lambda: "cluster_state:ok" in node.execute("CLUSTER", "INFO")
            )

            url = f"valkeys+cluster://{node.address}?ca={authority.file}"
            assert 1 == await write_and_count(url)


CHECK = """
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


def test_system_authorities_are_the_default(store, authority, other_authority):
    """The system's authorities are trusted only if the URL names no file."""
    processes = [
        # A process each, because the client reads the system's certificates once.
        subprocess.run(
            [sys.executable, "-c", CHECK, store.url + query],
            env={**os.environ, "SSL_CERT_FILE": str(authority.file)},
            capture_output=True,
            text=True,
            check=False,
        )
        for query in ("", f"?ca={other_authority.file}")
    ]

    assert [0, 1] == [process.returncode for process in processes]
    assert "certificate" in processes[1].stderr.splitlines()[-2]


async def engine_finding(url):
    """Return the level and the first word of the doctor's finding on the engine."""
    found = {finding.subject: finding for finding in await examine(url)}
    return found["engine"].level, found["engine"].message.partition(" ")[0]


async def test_unknown_authority(store, other_authority):
    """A certificate of an authority that is not trusted is refused."""
    for query in (f"?ca={other_authority.file}", ""):
        error = await connect_error(f"{store.url}{query}")

        assert "certificate" in error
        assert f"{store.address}: no TLS" in error
        (finding,) = await examine(f"{store.url}{query}")
        assert ("failure", error) == (finding.level, finding.message)


async def test_certificate_for_another_host(authority, tls):
    """A certificate for another host name is refused."""
    with tls_server(authority, "elsewhere.test") as other:
        url = f"{other.url}?ca={authority.file}"
        error = await connect_error(url)

        assert "127.0.0.1" in error.partition("no TLS")[2]
        assert "certificate is not valid" in error
        (finding,) = await examine(url)
        assert ("failure", error) == (finding.level, finding.message)


async def test_server_without_tls(authority):
    """A server without TLS is refused, and gets no command in clear text."""
    with valkey_server.server("redis") as plain:
        url = f"valkeys://user:a-secret@{plain.address}?ca={authority.file}"
        executed = int(plain.info("stats", "total_commands_processed"))
        error = await connect_error(url)

        # INFO itself is the one more.
        assert executed + 1 == int(plain.info("stats", "total_commands_processed"))
        assert "no TLS" in error
        assert "a-secret" not in error
        assert ["failure"] == [finding.level for finding in await examine(url)]


@pytest.mark.parametrize(
    ("content", "words"),
    [(None, "No such file"), (b"none", "certificate")],
    ids=["missing", "without certificates"],
)
async def test_unusable_ca_file(store, tmp_path, content, words):
    """An unusable file is an error; the system's authorities do not replace it."""
    file = tmp_path / "ca.pem"
    if content is not None:
        file.write_bytes(content)
    url = f"{store.url}?ca={file}"
    error = await connect_error(url)

    assert f"ca={file}" in error
    assert words in error
    assert [("failure", error)] == [
        (one.level, one.message) for one in await examine(url)
    ]


async def test_unreachable_store(authority):
    """The error for an unreachable store does not mention TLS."""
    with reserved_port() as unused:
        error = await connect_error(f"valkeys://127.0.0.1:{unused}?ca={authority.file}")

    assert "no TLS" not in error


async def test_replaced_ca_file(authority, other_authority, tmp_path, tls):
    """The file is read again for each new connection, so no restart is needed."""
    file = tmp_path / "known.pem"
    file.write_bytes(other_authority.file.read_bytes())
    with tls_server(authority, "127.0.0.1") as store:
        engine = ValkeyEngine(f"{store.url}?ca={file}")
        async with trio.open_nursery() as nursery:
            await nursery.start(engine.run)
            with pytest.raises(EngineUnavailable):
                await engine.check()
            file.write_bytes(authority.file.read_bytes())
            with trio.fail_after(valkey_server.TIMEOUT):
                while not await is_ready(engine):  # noqa: ASYNC110, no event exists
                    await trio.sleep(0.1)
            nursery.cancel_scope.cancel()


async def is_ready(engine):
    try:
        await engine.check()
    except EngineUnavailable:
        return False
    return True


@pytest.fixture(scope="module")
def client(authority):
    """The files of a client's certificate and of its key."""
    return authority.issue("client")


@pytest.fixture(scope="module")
def careful_store(authority, client, tls):
    """A store that requires a certificate of its clients."""
    with tls_server(authority, "127.0.0.1", client=client) as server:
        yield server


def with_client(url, ca, cert, key):
    return f"{url}?ca={ca}&cert={cert}&key={key}"


async def test_client_certificate(careful_store, authority, client):
    """A store that requires a certificate of its clients is served with one."""
    url = with_client(careful_store.url, authority.file, *client)

    assert 1 == await write_and_count(url)
    assert await engine_finding(url) == ("ok", "redis")


async def test_refused_client(careful_store, authority, other_authority):
    """Without a certificate, or with one of another authority, the reason is named."""
    without = f"{careful_store.url}?ca={authority.file}"
    foreign = with_client(
        careful_store.url, authority.file, *other_authority.issue("client")
    )
    for url, reason in [(without, "CERTIFICATE_REQUIRED"), (foreign, "UNKNOWN_CA")]:
        error = await connect_error(url)

        assert "no TLS" in error
        assert reason in error
        assert "failure" == (await examine(url))[0].level


async def test_unusable_client_files(careful_store, authority, client, tmp_path):
    """A missing, garbled, encrypted or foreign file is named."""
    cert, key = client
    _, foreign = authority.issue("foreign")
    garbled, encrypted = tmp_path / "garbled.pem", tmp_path / "encrypted.key"
    garbled.write_text("none")
    encrypted.write_bytes(encrypt(key.read_bytes()))
    for one, other, words in [
        (tmp_path / "no", key, "cert={}: No such file"),
        (cert, tmp_path / "no", "key={1}: No such file"),
        (garbled, key, "cert={}, key={}: "),
        (cert, garbled, "cert={}, key={}: "),
        (cert, foreign, "cert={}, key={}: "),
        (cert, encrypted, "key={1}: the key must not be encrypted"),
    ]:
        url = with_client(careful_store.url, authority.file, one, other)

        assert words.format(one, other) in await connect_error(url)


def encrypt(key: bytes) -> bytes:
    """Return a private key in PEM with a password."""
    return serialization.load_pem_private_key(key, None).private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.BestAvailableEncryption(b"secret"),
    )


async def test_replaced_client_certificate(careful_store, authority, client, tmp_path):
    """The client's files are read again for a new connection."""
    other = Authority(tmp_path, "other")
    mine = [tmp_path / "mine.pem", tmp_path / "mine.key"]
    for file, content in zip(mine, other.issue("client"), strict=True):
        file.write_bytes(content.read_bytes())
    engine = ValkeyEngine(with_client(careful_store.url, authority.file, *mine))
    async with trio.open_nursery() as nursery:
        await nursery.start(engine.run)
        assert not await is_ready(engine)
        for file, content in zip(mine, client, strict=True):
            file.write_bytes(content.read_bytes())
        with trio.fail_after(valkey_server.TIMEOUT):
            while not await is_ready(engine):  # noqa: ASYNC110, no event exists
                await trio.sleep(0.1)
        nursery.cancel_scope.cancel()


async def test_unix_socket(tmp_path):
    """A store at a Unix socket is served; it needs no TLS and no port."""
    path = tmp_path / "store.sock"
    with valkey_server.server("redis", "--unixsocket", str(path)) as store:
        url = f"unix://{path}?db=3"

        assert 1 == await write_and_count(url)
        assert await engine_finding(url) == ("ok", "redis")
        assert "db3:keys=" in store.execute("INFO", "keyspace")
    error = await connect_error(url)

    assert f"the store at {path}: " in error
    assert "such file" in error or "refused" in error
