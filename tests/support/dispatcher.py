"""A running stream dispatcher, and peers at the other ends of its sockets."""

from __future__ import annotations

import socket
from contextlib import asynccontextmanager, contextmanager

import attrs
import trio

from roundel import CloseMessage, Event, History, Parser, Stream
from roundel_adapters.server.dispatcher.dispatcher import StreamDispatcher
from roundel_adapters.wakeup import Wakeup

CLOSE_MESSAGE = CloseMessage(Event("bye", "over"), retry=5)


@attrs.define(eq=False)
class Peer:
    """The reader of one stream, and when the stream's lifespan began and ended."""

    sock: socket.socket
    stream: Stream
    entered_at: float | None = None
    left_at: float | None = None
    received: bytes = b""
    is_ended: bool = False

    @contextmanager
    def lifespan(self):
        self.entered_at = trio.current_time()
        yield
        self.left_at = trio.current_time()

    def read(self):
        """Receive without waiting; return the number of bytes."""
        before = len(self.received)
        while not self.is_ended:
            try:
                data = self.sock.recv(1 << 20)
            except BlockingIOError:
                break
            self.received += data
            self.is_ended = not data
        return len(self.received) - before

    def chunks(self):
        """Return the HTTP/1.1 chunks that the peer has received."""
        self.read()
        rest, chunks = self.received, []
        while rest:
            size, _, rest = rest.partition(b"\r\n")
            length = int(size, 16)
            assert rest[length : length + 2] == b"\r\n"
            chunks.append(rest[:length])
            rest = rest[length + 2 :]
            assert length or not rest, "bytes after the last chunk"
        return chunks

    def events(self):
        """Return the data of the events that the peer has received."""
        events = Parser().receive_data(b"".join(self.chunks()))
        return [event.data for event in events]


class DispatcherHarness:
    """A dispatcher, a history, and the peers that follow it."""

    def __init__(self, history=None, **options):
        self.history = history or History("e", snapshot=Event("start"))
        self.wakeup = Wakeup()
        self.dispatcher = StreamDispatcher(**options)
        self.peers = []

    def connect(
        self,
        stream=None,
        *,
        head=b"",
        buffer=None,
        pair=None,
        **options,
    ):
        """Add a stream over a *pair* of sockets; *buffer* is the send buffer's size."""
        ours, theirs = pair or socket.socketpair()
        if buffer is not None:
            ours.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, buffer)
        ours.setblocking(False)
        theirs.setblocking(False)
        now = trio.current_time()
        peer = Peer(theirs, stream or Stream(self.history, now=now, **options))
        self.peers.append(peer)
        self.dispatcher.add(
            ours,
            peer.stream,
            self.wakeup,
            lifespan=peer.lifespan(),
            head=head,
        )
        return peer

    def publish(self, *texts):
        """Publish events in one turn of the scheduler."""
        for text in texts:
            self.history.append(Event(text), now=trio.current_time())
        self.wakeup.notify()

    def close(self, peer):
        """Close the stream of *peer* with a close message."""
        peer.stream.close(CLOSE_MESSAGE)
        self.wakeup.notify()

    async def settle(self):
        """Wait until no task can run without more time."""
        await trio.testing.wait_all_tasks_blocked()


@asynccontextmanager
async def run_dispatcher(nursery, history=None, **options):
    """Run a harness for *history*, and close the peers' sockets at the end."""
    harness = DispatcherHarness(history, **options)
    await nursery.start(harness.dispatcher.run)
    try:
        yield harness
    finally:
        for peer in harness.peers:
            peer.sock.close()


@asynccontextmanager
async def tcp_pair():
    """Open a TCP connection; the caller owns the first socket."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        theirs = socket.create_connection(server.getsockname())
        ours, _ = server.accept()
    ours.setblocking(False)
    with theirs:
        yield ours, theirs
