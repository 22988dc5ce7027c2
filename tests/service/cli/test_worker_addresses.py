"""The addresses of the workers, reserved by the parent."""

from __future__ import annotations

import socket
import sys

import attrs
import pytest
from trio.testing import open_stream_to_socket_listener

from roundel_adapters import server
from roundel_service.addresses import Address, InheritedSocket
from roundel_service.cli.worker_addresses import reserved_addresses
from roundel_service.settings import ConfigError, Settings
from support.service import settings


def settings_for(count: int, **changes: str) -> Settings:
    """Return the settings of *count* workers on free ports."""
    free = {"bind": "127.0.0.1:0", "ops_bind": ""}
    return attrs.evolve(settings(**{**free, **changes}), workers=count)


def test_operator_listeners_have_consecutive_ports():
    """The first worker has ROUNDEL_OPS_BIND, the others the following ports."""
    with reserved_addresses(settings_for(3, ops_bind="127.77.0.9:9180")) as held:
        assert [
            [Address("127.77.0.9", 9180 + index)] for index in range(3)
        ] == held.ops_binds
        assert "http://127.77.0.9:9182" == held.urls.operator[-1]


def test_operator_sockets_have_numbers(tmp_path):
    """The first worker has the path of ROUNDEL_OPS_BIND, the others a suffix."""
    ops = f"unix:{tmp_path}/ops.sock"
    with reserved_addresses(settings_for(3, ops_bind=ops)) as held:
        assert [ops, f"{ops}.2", f"{ops}.3"] == [*held.urls.operator]
        assert not [*tmp_path.iterdir()]


def test_port_zero_is_chosen_once_for_all_workers():
    """The chosen port is reserved: no other process can bind it."""
    with reserved_addresses(settings_for(2, ops_bind="127.0.0.1:0")) as held:
        (bind,) = held.bind
        ports = [bind.port, *(address.port for (address,) in held.ops_binds)]
        with pytest.raises(OSError, match="in use"), socket.socket() as other:
            other.bind(("127.0.0.1", bind.port))
        assert [f"http://127.0.0.1:{bind.port}"] == [*held.urls.main]

    assert 3 == len({*ports} - {0})


@pytest.mark.skipif(not socket.has_ipv6, reason="no IPv6 here")
async def test_port_is_shared_over_ipv6():
    """Two listeners can share a reserved IPv6 port."""
    with reserved_addresses(settings_for(2, bind="[::1]:0", ops_bind="")) as held:
        address = held.bind[0].host, held.bind[0].port
        (first,) = await server.listen(*address, share_port=True)
        (second,) = await server.listen(*address, share_port=True)
        async with first, second:
            assert address == second.socket.getsockname()[:2]


@pytest.mark.skipif(not socket.has_dualstack_ipv6(), reason="no IPv6 here")
def test_port_of_any_ipv6_host_is_reserved_over_ipv4_too():
    """The workers listen on both families, so the parent reserves both."""
    with (
        reserved_addresses(settings_for(2, bind="[::]:0", ops_bind="")) as held,
        pytest.raises(OSError, match="in use"),
        socket.socket() as other,
    ):
        other.bind(("127.0.0.1", held.bind[0].port))


def test_disabled_operator_listener_is_disabled_for_all_workers():
    """Without ROUNDEL_OPS_BIND no worker has an operator's listener."""
    with reserved_addresses(settings_for(2, ops_bind="")) as held:
        assert [[], []] == held.ops_binds


def test_workers_inherit_a_unix_socket(tmp_path):
    """Connections wait in the parent's socket until the service drains."""
    path = f"{tmp_path}/r.sock"
    with reserved_addresses(settings_for(2, bind=f"unix:{path}")) as held:
        with socket.socket(socket.AF_UNIX) as client:
            client.connect(path)
        held.stop_listening()

        assert [InheritedSocket(number) for number in held.inherited] == [*held.bind]
        assert [f"unix:{path}"] == [*held.urls.main]
        assert not [*tmp_path.iterdir()]


def test_workers_inherit_an_inherited_socket():
    """The socket keeps its number; a file that is no such socket is an error."""
    with socket.create_server(("127.0.0.1", 0)) as passed:
        number = passed.fileno()
        refused = settings_for(2, bind=f"fd:{number}")
        with (
            pytest.raises(OSError, match=f"cannot listen on fd:{number}: .* not pass"),
            reserved_addresses(refused),
        ):
            pass
        passed.set_inheritable(True)
        port = passed.getsockname()[1]
        with reserved_addresses(settings_for(2, bind=f"fd:{number}")) as held:
            assert [number] == [*held.inherited]
            assert [f"http://127.0.0.1:{port}"] == [*held.urls.main]
        passed.detach()


def test_address_in_use_is_an_error_before_any_worker_starts():
    """A second service on the port is refused, even if both could share it."""
    with (
        socket.create_server(("127.0.0.1", 0), reuse_port=True) as taken,
        pytest.raises(OSError, match=r"cannot listen on .*: Address already in use"),
        reserved_addresses(settings_for(2, bind=f"127.0.0.1:{taken.getsockname()[1]}")),
    ):
        pass


def test_operator_ports_must_not_exceed_65535():
    """The error names the largest possible first port."""
    with (
        pytest.raises(ConfigError, match=r"ROUNDEL_OPS_BIND: .*at most 65533"),
        reserved_addresses(settings_for(3, ops_bind="127.0.0.1:65534")),
    ):
        pass


def test_workers_cannot_share_an_operators_socket():
    """Each worker reports its own metrics."""
    with (
        pytest.raises(ConfigError, match=r"ROUNDEL_OPS_BIND: .* 2 workers, got fd:3"),
        reserved_addresses(settings_for(2, ops_bind="fd:3")),
    ):
        pass


def test_several_workers_need_linux(monkeypatch):
    """On other systems one listener would get all connections."""
    monkeypatch.setattr(sys, "platform", "darwin")
    with (
        pytest.raises(ConfigError, match=r"ROUNDEL_WORKERS: .*Linux"),
        reserved_addresses(settings_for(2)),
    ):
        pass


@pytest.mark.parametrize("count", ["0", "65", "two", "1.5"])
def test_number_of_workers_is_1_to_64(count):
    """Another number of workers is an invalid setting."""
    with pytest.raises(ConfigError, match=r"ROUNDEL_WORKERS .*expected a count"):
        settings(workers=count)


async def test_only_listeners_with_share_port_share_a_port():
    """Another listener on a shared port is refused without `share_port`."""
    (first,) = await server.listen("127.0.0.1", 0, share_port=True)
    port = first.socket.getsockname()[1]
    (second,) = await server.listen("127.0.0.1", port, share_port=True)
    async with first, second:
        with pytest.raises(OSError, match="in use"):
            await server.listen("127.0.0.1", port)
        async with await open_stream_to_socket_listener(second) as stream:
            nodelay = second.socket.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)
            assert ("127.0.0.1", port) == stream.socket.getpeername()
            assert nodelay
