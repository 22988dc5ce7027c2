"""The cancellation token on a pair of sockets."""

from __future__ import annotations

import socket

from roundel_adapters.client.cancellation import CancellationToken


class NetworkStream:
    """A network stream as the HTTP libraries have it."""

    def __init__(self, sock):
        self.sock = sock

    def get_extra_info(self, name):
        return self.sock if name == "socket" else None


def test_connection_after_the_cancellation():
    """A connection that is made after the cancellation is shut down at once."""
    token = CancellationToken()
    token.cancel()
    ours, peer = socket.socketpair()
    with ours, peer:
        peer.settimeout(5)
        token.watch(NetworkStream(ours))

        assert b"" == peer.recv(1)
        token.release()


def test_socket_that_is_closed_already():
    """A connection that the library has closed is no error."""
    token = CancellationToken()
    ours, peer = socket.socketpair()
    with peer:
        ours.close()
        token.watch(NetworkStream(ours))
        token.cancel()

    assert token.wait(float("inf"))


def test_stream_without_a_socket():
    """A transport without sockets is cancelled without an error."""
    token = CancellationToken()
    token.watch(None)
    token.watch(object())
    token.cancel()

    assert token.is_cancelled
