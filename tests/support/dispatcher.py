"""A switchboard, and peers at the other ends of its lines."""

from __future__ import annotations

import socket
from contextlib import asynccontextmanager, contextmanager

import attrs
import trio

from roundel import CloseMessage, Event, History, Parser, Stream
from roundel_adapters.server.dispatcher.dispatcher import StreamDispatcher
from roundel_adapters.wakeup import Wakeup

BYE = CloseMessage(Event("bye", "over"), retry=5)


def events_of(chunks):
    """Return the data of the events in *chunks*."""
    return [event.data for event in Parser().receive_data(b"".join(chunks))]


@attrs.define(eq=False)
class Peer:
    """Whoever reads a line, and what became of its stream."""

    sock: socket.socket
    talker: Stream
    entered_at: float | None = None
    left_at: float | None = None
    received: bytes = b""
    is_ended: bool = False

    @contextmanager
    def within(self):
        self.entered_at = trio.current_time()
        yield
        self.left_at = trio.current_time()

    def read(self):
        """Take all that has come, without waiting; return how much that was."""
        before = len(self.received)
        while not self.is_ended:
            try:
                piece = self.sock.recv(1 << 20)
            except BlockingIOError:
                break
            self.received += piece
            self.is_ended = not piece
        return len(self.received) - before

    def chunks(self):
        """Return the chunks that have come, in the form of HTTP/1.1."""
        self.read()
        rest, chunks = self.received, []
        while rest:
            size, _, rest = rest.partition(b"\r\n")
            length = int(size, 16)
            assert rest[length : length + 2] == b"\r\n"
            chunks.append(rest[:length])
            rest = rest[length + 2 :]
            assert length or not rest, "nothing comes behind the last chunk"
        return chunks

    def events(self):
        """Return the data of the events that have come."""
        return events_of(self.chunks())


class Room:
    """A switchboard that runs, a history, and the peers that read it."""

    def __init__(self, history=None, **options):
        self.history = history or History("e", snapshot=Event("start"))
        self.bell = Wakeup()
        self.board = StreamDispatcher(**options)
        self.peers = []

    def connect(
        self,
        talker=None,
        *,
        chunked=True,
        head=b"",
        buffer=None,
        pair=None,
        **options,
    ):
        """Open a line, over a *pair* of sockets or with a *buffer* of that size."""
        ours, theirs = pair or socket.socketpair()
        if buffer is not None:
            ours.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, buffer)
        ours.setblocking(False)
        theirs.setblocking(False)
        now = trio.current_time()
        peer = Peer(theirs, talker or Stream(self.history, now=now, **options))
        self.peers.append(peer)
        self.board.add(
            ours,
            peer.talker,
            self.bell,
            lifespan=peer.within(),
            chunked=chunked,
            head=head,
        )
        return peer

    def tell(self, *texts):
        """Publish events in one turn."""
        for text in texts:
            self.history.append(Event(text), now=trio.current_time())
        self.bell.notify()

    def end(self, peer):
        peer.talker.close(BYE)
        self.bell.notify()

    async def settle(self):
        """Let everything happen that can without more time."""
        await trio.testing.wait_all_tasks_blocked()


@asynccontextmanager
async def running(nursery, history=None, **options):
    """Run a room of *history*."""
    room = Room(history, **options)
    await nursery.start(room.board.run)
    try:
        yield room
    finally:
        for peer in room.peers:
            peer.sock.close()


@asynccontextmanager
async def tcp_pair():
    """Make two ends of a TCP connection, of which the first is given away."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        theirs = socket.create_connection(server.getsockname())
        ours, _ = server.accept()
    ours.setblocking(False)
    with theirs:
        yield ours, theirs
