"""A connection to the store: commands in, replies out, in bounded time."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final, final

import trio
from glide import GlideError, RequestError

from ..base import EngineUnavailable
from .client import CONNECT_TIMEOUT, AnyClient, Command, connect, execute
from .scripts import SCRIPTS
from .tls import TlsFileError, find_connection_error
from .url import StoreUrl

_LASTING: Final = frozenset(("OOM", "MISCONF", "NOREPLICAS", "PERMISSIONDENIED"))

_SIGNALLED: Final = "An error was signalled by the server: - "

_RECONNECT_AFTER: Final = 1.0
"""Time without a reply after which a new client is created, in seconds."""


@final
class StoreRefused(EngineUnavailable):
    """The store refused a command with the error *code*, such as ``OOM``."""

    def __init__(self, message: str, code: str) -> None:
        super().__init__(message)
        self.code = code

    @property
    def is_lasting(self) -> bool:
        """Whether the command had no effect, and trying it again soon has none.

        A script is refused for these reasons before its first write. ``READONLY`` is
        none of them: after a failover another server accepts the command.
        """
        return self.code in _LASTING


@final
class ValkeyConnection:
    """A connection to the store at *url* that connects on its first command.

    A command that blocks delays all other commands of the connection. Each command
    times out after *timeout* seconds.
    """

    def __init__(self, url: StoreUrl, *, timeout: float) -> None:
        self.url = url
        self._timeout = timeout
        self._client: AnyClient | None = None
        self._connect_lock = trio.Lock()
        self._failing_since: float | None = None
        self._is_closed = False

    async def run(self, commands: Sequence[Command]) -> list[object]:
        """Return the reply to each command, or an `EngineUnavailable` in its place.

        A command without a reply may have been executed.
        """
        replies = await self._run(commands)
        unknown = [
            i for i, reply in enumerate(replies) if _has_error(reply, "noscript")
        ]
        if unknown:
            # A server loses its scripts when it restarts.
            retried = await self._run([_with_script(commands[i]) for i in unknown])
            for i, reply in zip(unknown, retried, strict=True):
                replies[i] = reply
        return [
            self._failure(reply) if isinstance(reply, GlideError) else reply
            for reply in replies
        ]

    async def _run(self, commands: Sequence[Command]) -> list[object]:
        if self._is_closed:
            return [EngineUnavailable("the engine is not running")] * len(commands)
        try:
            # The library has a timeout of its own; this is a second bound.
            with trio.fail_after(self._timeout + 2 * CONNECT_TIMEOUT):
                client = self._client or await self._connect()
                replies = await execute(client, commands)
        except (GlideError, trio.TooSlowError, TlsFileError) as error:
            await self._on_failure()
            # The library reports a certificate that is not trusted, and a socket that
            # does not exist, as a timeout.
            failure = self._unavailable(await find_connection_error(self.url) or error)
            return [failure] * len(commands)
        # The server was a primary and is a replica now.
        if any(_has_error(reply, "readonly") for reply in replies):
            await self._on_failure()
        else:
            self._failing_since = None
        return replies

    async def _connect(self) -> AnyClient:
        # Concurrent callers share one client.
        async with self._connect_lock:
            if self._client is None:
                self._client = await connect(self.url, command_timeout=self._timeout)
            return self._client

    async def _on_failure(self) -> None:
        """Discard a client that has failed for a while.

        The next client resolves the host name and looks for the primary again.
        """
        now = trio.current_time()
        if self._failing_since is None:
            self._failing_since = now
        elif now >= self._failing_since + _RECONNECT_AFTER:
            await self._disconnect()

    async def close(self) -> None:
        """Close the connection; later commands return `EngineUnavailable`."""
        self._is_closed = True
        await self._disconnect()

    async def _disconnect(self) -> None:
        client, self._client = self._client, None
        self._failing_since = None
        if client is not None:
            await client.close()

    def _failure(self, error: GlideError) -> EngineUnavailable:
        unavailable = self._unavailable(error)
        if code := _error_code(error):
            return StoreRefused(str(unavailable), code)
        return unavailable

    def _unavailable(self, error: Exception | str) -> EngineUnavailable:
        message = str(error).strip().replace("\n", " ") or "command timed out"
        return EngineUnavailable(f"the store at {self.url}: {message[:200]}")


def _error_code(error: GlideError) -> str | None:
    """Return the code of an error reply, such as ``OOM``; the library rewrites some."""
    if type(error) is not RequestError:
        return None  # a subclass is an error of the connection
    code, colon, _ = str(error).removeprefix(_SIGNALLED).partition(":")
    return code.upper() if colon and code.isalpha() else None


def _has_error(reply: object, code: str) -> bool:
    return isinstance(reply, RequestError) and code in str(reply).lower()


def _with_script(command: Command) -> Command:
    """Return the `EVAL` command for an `EVALSHA` command."""
    # SCRIPT LOAD would need a reply from every primary, even from unreachable ones.
    _, sha, *rest = command
    return ["EVAL", SCRIPTS[str(sha)].text, *rest]
