"""Listeners of the service at each kind of address."""

from __future__ import annotations

import os
import socket
from contextlib import ExitStack
from pathlib import Path

import pytest
import trio

from roundel_service.addresses import parse_addresses
from roundel_service.listening import open_listeners


async def opened(text: str, files: ExitStack):
    return await open_listeners(parse_addresses(text), files)


def inherited(stack: ExitStack, *, unix: str | None = None) -> socket.socket:
    """Return a listening socket of a parent process."""
    family = socket.AF_UNIX if unix else socket.AF_INET
    sock = stack.enter_context(socket.socket(family))
    sock.bind(unix or ("127.0.0.1", 0))
    sock.listen()
    return sock


def files_of(folder: Path) -> list[str]:
    return sorted(file.name for file in folder.iterdir())


def passed(sock: socket.socket) -> int:
    """Return a file descriptor of *sock* that is passed to other programs."""
    number = os.dup(sock.fileno())
    os.set_inheritable(number, True)
    return number


async def test_all_kinds_of_addresses_are_opened_together(tmp_path):
    """Each address has a URL, with the port that was chosen for port 0."""
    path, other = f"{tmp_path}/r.sock", f"{tmp_path}/other.sock"
    with ExitStack() as parent, ExitStack() as files:
        numbers = [passed(inherited(parent)), passed(inherited(parent, unix=other))]
        text = "127.0.0.1:0,unix:{},fd:{},fd:{}".format(path, *numbers)
        listeners, urls = await opened(text, files)
        names = [listener.socket.getsockname() for listener in listeners]
        for listener in listeners:
            await listener.aclose()

        assert [path, other] == [names[1], names[3]]
        assert urls == [
            f"http://127.0.0.1:{names[0][1]}",
            f"unix:{path}",
            f"http://127.0.0.1:{names[2][1]}",
            f"unix:{other}",
        ]
        assert ["other.sock", "r.sock"] == files_of(tmp_path)

    assert ["other.sock"] == files_of(tmp_path)


@pytest.mark.parametrize("is_unix", [False, True], ids=["tcp", "unix"])
async def test_address_in_use_is_an_error_that_names_it(tmp_path, is_unix):
    """The listeners before it are closed, and their files removed."""
    path, taken = f"{tmp_path}/r.sock", f"{tmp_path}/taken.sock"
    with ExitStack() as parent, ExitStack() as files:
        sock = inherited(parent, unix=taken if is_unix else None)
        port = sock.getsockname()[1]
        address = f"unix:{taken}" if is_unix else f"127.0.0.1:{port}"
        with pytest.raises(OSError, match=f"cannot listen on {address}: Address alre"):
            await opened(f"unix:{path},{address}", files)
        with pytest.raises(ConnectionRefusedError):
            await trio.open_unix_socket(path)

    assert "r.sock" not in files_of(tmp_path)


async def test_file_descriptor_of_this_process_is_refused():
    """Without a parent that passes a socket, the number can be another file here."""
    with ExitStack() as stack:
        number = inherited(stack).fileno()
        with pytest.raises(OSError, match=f"fd:{number}: .* was not passed to this"):
            await opened(f"fd:{number}", stack)
        os.close(closed := passed(inherited(stack)))
        with pytest.raises(OSError, match=f"fd:{closed}: .* is not open"):
            await opened(f"fd:{closed}", stack)


async def test_name_without_an_address_is_an_error():
    """The error of the resolver has the name."""
    with pytest.raises(OSError, match=r"cannot listen on no\.invalid:1: "):
        await opened("no.invalid:1", ExitStack())
