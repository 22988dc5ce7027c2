"""Opens the listeners of a service at its addresses."""

from __future__ import annotations

import os
from collections.abc import Sequence
from contextlib import ExitStack
from typing import final

import attrs
import trio

from roundel_adapters import server

from .addresses import Address, InheritedSocket, ListenAddress, UnixAddress


@final
@attrs.frozen
class ServiceUrls:
    """The URLs of the main listeners, as text, and those of the operator's."""

    main: Sequence[str]
    operator: Sequence[str] = ()

    def __str__(self) -> str:
        return ", ".join(self.main)


async def open_listeners(
    addresses: Sequence[ListenAddress], files: ExitStack, *, share_port: bool = False
) -> tuple[list[trio.SocketListener], list[str]]:
    """Listen at each of *addresses*; return the listeners, and a URL for each address.

    Closing *files* removes the files of Unix sockets. Raises `OSError` with the address
    if it is in use or unfit; the listeners that are open are then closed.
    """
    opened: list[trio.SocketListener] = []
    urls = []
    with ExitStack() as on_error:
        for address in addresses:
            listeners = await _open(address, files, share_port=share_port)
            for listener in listeners:
                on_error.callback(listener.socket.close)
            opened += listeners
            urls.append(url(address, listeners[0].socket.getsockname()))
        on_error.pop_all()
    return opened, urls


async def _open(
    address: ListenAddress, files: ExitStack, *, share_port: bool
) -> list[trio.SocketListener]:
    try:
        match address:
            case Address(host, port):
                return await server.listen(host, port, share_port=share_port)
            case UnixAddress(path):
                listener, remove = server.listen_unix(path)
                files.callback(remove)
                return [listener]
            case InheritedSocket(number):
                check_inherited(number)
                return [server.adopt_listener(number)]
    except OSError as error:
        raise cannot_listen(address, error) from None


def check_inherited(number: int) -> None:
    """Raise `OSError` if the file descriptor is one that this process has opened.

    Python closes its own files when another program starts, and a file that has
    survived a start does not have that flag (PEP 446).
    """
    try:
        is_inherited = os.get_inheritable(number)
    except OSError:
        raise OSError(None, f"file descriptor {number} is not open") from None
    if not is_inherited:
        raise OSError(None, f"file descriptor {number} was not passed to this process")


def cannot_listen(address: ListenAddress, error: OSError) -> OSError:
    """Return the error with the *address* and the reason."""
    return OSError(f"cannot listen on {address}: {error.strerror}")


def url(address: ListenAddress, name: object) -> str:
    """Return the URL of a listener at *address* whose socket has this *name*."""
    match address, name:
        case Address(), (_, int(port), *_):
            return f"http://{attrs.evolve(address, port=port)}"
        case Address(), _:
            return f"http://{address}"
        case InheritedSocket(), (str(host), int(port), *_):
            return f"http://{Address(host, port)}"
        case InheritedSocket(), str(path) if path:
            return str(UnixAddress(path))
        case _:
            return str(address)
