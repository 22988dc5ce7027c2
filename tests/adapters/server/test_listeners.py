"""Listeners: TCP, Unix domain and inherited ones, and the options of their sockets."""

from __future__ import annotations

import os
import socket
import stat
import sys
from functools import partial

import pytest
import trio

from roundel_adapters import server
from roundel_adapters.server import adopt_listener, listen, listen_unix, sockets
from support.asgi_apps import answer, app_of
from support.fastpath_app import FakeFastpathApp
from support.server import read_until

REQUEST = b"GET / HTTP/1.1\r\nhost: x\r\n\r\n"

linux = pytest.mark.skipif(sys.platform != "linux", reason="an option of Linux")
needs_ipv6 = pytest.mark.skipif(not socket.has_dualstack_ipv6(), reason="no IPv6 here")


async def close(*listeners) -> None:
    for listener in listeners:
        await listener.aclose()


async def is_served(nursery, listener, connect, *, fastpath=None) -> bytes:
    """Serve *listener*, and return the response to a request over `connect()`."""
    stop = trio.Event()

    async def run(*, task_status) -> None:
        await server.serve(
            app_of(answer),
            [listener],
            shutdown=stop.wait,
            fastpath=fastpath,
            task_status=task_status,
        )

    await nursery.start(run)
    async with await connect() as stream:
        await stream.send_all(REQUEST)
        received = await read_until(stream, b"ok")
    stop.set()
    return received


# TCP


@needs_ipv6
async def test_any_ipv6_host_listens_on_ipv4_too():
    """`[::]` accepts connections of both families on one port."""
    (listener,) = await listen("::", 0)
    port = listener.socket.getsockname()[1]
    for host in ("127.0.0.1", "::1"):
        async with await trio.open_tcp_stream(host, port):
            stream = await listener.accept()
            await stream.aclose()
    await close(listener)


@needs_ipv6
async def test_other_ipv6_host_listens_on_its_family_alone():
    """`[::1]` leaves the port of 127.0.0.1 to others."""
    (listener,) = await listen("::1", 0)
    port = listener.socket.getsockname()[1]
    (other,) = await listen("127.0.0.1", port)

    assert port == other.socket.getsockname()[1]
    await close(listener, other)


async def test_name_with_several_addresses_has_one_port():
    """Port 0 of a name is one free port on each of its addresses."""
    listeners = await listen("localhost", 0)

    assert 1 == len({each.socket.getsockname()[1] for each in listeners})
    await close(*listeners)


class Resolver(trio.abc.HostnameResolver):
    """Resolves every name to *addresses*."""

    def __init__(self, *addresses) -> None:
        self.addresses = addresses

    async def getaddrinfo(self, host, port, *args):
        kind = socket.SOCK_STREAM
        return [(f, kind, 6, "", (a, port)) for f, a in self.addresses]

    async def getnameinfo(self, sockaddr, flags):
        raise NotImplementedError


def resolve_to(*addresses) -> None:
    """Set the addresses of all names, for the rest of a test."""
    trio.socket.set_custom_hostname_resolver(Resolver(*addresses))


# 203.0.113.0/24 is for documentation (RFC 5737): no machine has an address of it.
ABSENT = (socket.AF_INET, "203.0.113.7")
LOOPBACK = (socket.AF_INET, "127.0.0.1")


@pytest.mark.parametrize(
    "addresses", [(ABSENT, LOOPBACK), (LOOPBACK, ABSENT), (LOOPBACK, LOOPBACK)]
)
async def test_absent_address_of_a_name_is_skipped(addresses):
    """`localhost` works where it has an IPv6 address and the machine has none."""
    resolve_to(*addresses)
    (listener,) = await listen("name.test", 0)

    assert "127.0.0.1" == listener.socket.getsockname()[0]
    await close(listener)


async def test_name_without_any_usable_address_is_an_error():
    """The error of the last address is raised."""
    resolve_to(ABSENT)
    with pytest.raises(OSError, match="Cannot assign requested address"):
        await listen("name.test", 0)


# Unix domain sockets


@pytest.mark.slow
@pytest.mark.parametrize("fastpath", [None, FakeFastpathApp()], ids=["asgi", "fast"])
async def test_requests_are_served_over_a_unix_socket(nursery, tmp_path, fastpath):
    """A proxy on the same machine needs no port."""
    path = f"{tmp_path}/r.sock"
    listener, remove = listen_unix(path)
    connect = partial(trio.open_unix_socket, path)
    received = await is_served(nursery, listener, connect, fastpath=fastpath)
    remove()

    assert received.startswith(b"HTTP/1.1 200")
    with pytest.raises(FileNotFoundError):
        os.lstat(path)


async def test_any_local_user_can_connect_to_a_unix_socket(tmp_path):
    """A proxy usually runs as another user; the umask does not matter."""
    umask = os.umask(0o077)
    try:
        listener, _ = listen_unix(f"{tmp_path}/r.sock")
    finally:
        os.umask(umask)

    assert 0o666 == stat.S_IMODE((tmp_path / "r.sock").stat().st_mode)
    await close(listener)


async def test_socket_of_a_dead_process_is_replaced(tmp_path):
    """A process that was killed leaves its file, which does not stop the next."""
    path = f"{tmp_path}/r.sock"
    first, _ = listen_unix(path)
    await first.aclose()
    second, _ = listen_unix(path)
    async with await trio.open_unix_socket(path):
        await close(await second.accept())
    await close(second)


@pytest.mark.parametrize("backlog", [1, 0], ids=["free", "full"])
async def test_socket_of_a_live_process_is_refused(tmp_path, monkeypatch, backlog):
    """A second service does not take the socket of the first, however busy it is."""
    path = f"{tmp_path}/r.sock"
    monkeypatch.setattr(sockets, "BACKLOG", backlog)
    first, _ = listen_unix(path)
    clients = [await trio.open_unix_socket(path) for _ in range(1 - backlog)]
    with pytest.raises(OSError, match="Address already in use"):
        listen_unix(path)

    async with await trio.open_unix_socket(path) if backlog else clients[0]:
        await close(await first.accept(), first)


@pytest.mark.parametrize("kind", ["file", "folder", "link"])
async def test_file_that_is_no_socket_is_refused_and_kept(tmp_path, kind):
    """A mistyped path does not delete a file."""
    path = tmp_path / "kept"
    if kind == "folder":
        path.mkdir()
    elif kind == "file":
        path.write_text("kept")
    else:
        path.symlink_to("elsewhere")
    with pytest.raises(OSError, match="exists and is not a socket"):
        listen_unix(str(path))

    os.lstat(path)


async def test_only_the_listeners_own_file_is_removed(tmp_path):
    """A listener that was replaced does not remove the file of its successor."""
    path = f"{tmp_path}/r.sock"
    first, remove = listen_unix(path)
    await first.aclose()
    second, _ = listen_unix(path)
    remove()
    async with await trio.open_unix_socket(path):
        await close(await second.accept())
    await close(second)


def test_impossible_path_is_an_error(tmp_path):
    """A path that is too long, or without its folder, is an `OSError`."""
    with pytest.raises(OSError, match="too long"):
        listen_unix(f"{tmp_path}/{'x' * 200}")
    with pytest.raises(FileNotFoundError):
        listen_unix(f"{tmp_path}/none/r.sock")


# Inherited sockets


@pytest.mark.slow
@pytest.mark.parametrize("family", [socket.AF_INET, socket.AF_UNIX])
@pytest.mark.parametrize("fastpath", [None, FakeFastpathApp()], ids=["asgi", "fast"])
async def test_inherited_socket_is_served(nursery, tmp_path, family, fastpath):
    """A connection that was made before the start waits, and is served."""
    address = ("127.0.0.1", 0) if family == socket.AF_INET else f"{tmp_path}/r.sock"
    with socket.socket(family) as parents:
        parents.bind(address)
        parents.listen()
        client = socket.socket(family)
        client.connect(parents.getsockname())
        stream = trio.SocketStream(trio.socket.from_stdlib_socket(client))
        listener = adopt_listener(os.dup(parents.fileno()))

        async def connect():
            return stream

        received = await is_served(nursery, listener, connect, fastpath=fastpath)

    assert received.startswith(b"HTTP/1.1 200")


async def test_inherited_socket_is_not_passed_on():
    """A process that the service starts does not hold the listener."""
    with socket.create_server(("127.0.0.1", 0)) as parents:
        number = os.dup(parents.fileno())
        os.set_inheritable(number, True)
        listener = adopt_listener(number)

        assert not os.get_inheritable(number)
        await close(listener)


@pytest.mark.parametrize("kind", ["file", "connected", "datagram", "unbound", "closed"])
def test_other_file_descriptor_is_refused(tmp_path, kind):
    """The error names the file descriptor, which stays open for its owner."""
    one, other = socket.socketpair()
    files = {
        "file": (tmp_path / "f").open("w"),
        "connected": one,
        "datagram": socket.socket(type=socket.SOCK_DGRAM),
        "unbound": socket.socket(),
    }
    number = 10_000 if kind == "closed" else files[kind].fileno()
    with pytest.raises(OSError, match=f"file descriptor {number} is not "):
        adopt_listener(number)

    for each in (*files.values(), other):
        os.fstat(each.fileno())
        each.close()


# Options


@linux
@pytest.mark.slow
@pytest.mark.parametrize("fastpath", [None, FakeFastpathApp()], ids=["asgi", "fast"])
@pytest.mark.parametrize("is_tls", [False, True], ids=["plain", "tls"])
async def test_listener_has_the_write_timeout(nursery, tls_contexts, fastpath, is_tls):
    """The kernel ends a connection whose peer acknowledges nothing in this time."""
    listeners = await listen(
        "127.0.0.1", 0, **({"tls": tls_contexts[0]} if is_tls else {})
    )
    listener = listeners[0].transport_listener if is_tls else listeners[0]

    async def run(*, task_status) -> None:
        await server.serve(
            app_of(answer),
            listeners,
            shutdown=trio.sleep_forever,
            limits=server.ServerLimits(write_timeout=3.5),
            fastpath=fastpath,
            task_status=task_status,
        )

    await nursery.start(run)
    options = (socket.TCP_USER_TIMEOUT, socket.TCP_NODELAY)

    # Accepted sockets inherit the options of their listener.
    assert [3_500, 1] == [
        listener.socket.getsockopt(socket.IPPROTO_TCP, option) for option in options
    ]
    nursery.cancel_scope.cancel()
