"""What a WSGI response learns from the socket below it."""

from __future__ import annotations

import socket
from math import inf

import pytest

from roundel_adapters.wsgi_socket import PeerSocket


@pytest.fixture
def pair():
    ours, peers = socket.socketpair()
    with ours, peers:
        yield ours, peers


@pytest.mark.parametrize("key", ["gunicorn.socket", "werkzeug.socket"])
def test_peer_that_closes(pair, key):
    """The peer's close is seen, though it sent bytes before that were not read."""
    ours, peers = pair
    peer_socket = PeerSocket.of({key: ours, "SERVER_PROTOCOL": "HTTP/1.1"})
    peers.sendall(b"GET /")
    assert not peer_socket.is_closed_by_peer()
    peers.close()

    assert peer_socket.is_closed_by_peer()
    ours.close()
    assert peer_socket.is_closed_by_peer()


def test_write_timeout(pair):
    """Within the block a write to a peer that does not read is an error in time."""
    ours, _ = pair
    peer_socket = PeerSocket.of({"gunicorn.socket": ours})
    with peer_socket.write_timeout(0.01), pytest.raises(TimeoutError):
        ours.sendall(bytes(1 << 24))
    assert ours.gettimeout() is None
    with peer_socket.write_timeout(inf):
        assert ours.gettimeout() is None
    with peer_socket.write_timeout(5.0):
        ours.close()


def test_end_of_the_connection(pair):
    """The peer reads to the end of what was written, and a second end is harmless."""
    ours, peers = pair
    peer_socket = PeerSocket.of({"gunicorn.socket": ours})
    ours.sendall(b"bye")
    peer_socket.end_connection()
    peer_socket.end_connection()

    assert [b"bye", b""] == [peers.recv(99), peers.recv(99)]


@pytest.mark.parametrize("protocol", ["HTTP/1.1", "HTTP/2.0"])
def test_no_socket(pair, protocol):
    """A socket that is unknown, or that HTTP/2 streams share, is left alone."""
    ours, peers = pair
    environ = {"SERVER_PROTOCOL": protocol, "other.socket": ours}
    if protocol == "HTTP/2.0":
        environ["gunicorn.socket"] = ours
    peer_socket = PeerSocket.of(environ)
    peers.close()
    with peer_socket.write_timeout(1.0):
        assert ours.gettimeout() is None
    peer_socket.end_connection()

    assert not peer_socket.is_closed_by_peer()
    assert b"" == ours.recv(1)
