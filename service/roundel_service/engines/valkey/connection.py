"""A connection to a store: commands in, answers out, and never for long."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final, final

import trio
from glide import GlideError, RequestError

from ..base import EngineUnavailable
from .client import CONNECT, Client, Command, connect
from .scripts import ALL
from .tls import CaFileError, distrust
from .url import StoreUrl

_RENEW_AFTER: Final = 1.0
_TEXTS: Final = {script.sha: script.text for script in ALL}


@final
class ValkeyConnection:
    """A connection to the store at *url*, which is made when it is needed.

    A read that blocks, or a server that does not answer, holds up whatever else is
    asked of the same connection. An answer is waited for *timeout* seconds.
    """

    def __init__(self, url: StoreUrl, *, timeout: float) -> None:
        self.url = url
        self._timeout = timeout
        self._client: Client | None = None
        self._connecting = trio.Lock()
        self._failing_since: float | None = None
        self._is_over = False

    async def run(self, commands: Sequence[Command]) -> list[object]:
        """Return the answer to each command, or an `EngineUnavailable` in its place.

        What became of one that has no answer is not known.
        """
        answers = await self._run(commands)
        unknown = [number for number, answer in enumerate(answers) if _is_new(answer)]
        if unknown:
            # A server that was restarted knows no script any more, until it is shown.
            again = await self._run([_shown(commands[number]) for number in unknown])
            for number, answer in zip(unknown, again, strict=True):
                answers[number] = answer
        return [self._translate_error(answer) for answer in answers]

    async def _run(self, commands: Sequence[Command]) -> list[object]:
        if self._is_over:
            return [EngineUnavailable("the engine has ended")] * len(commands)
        try:
            # The library keeps its own time; this is for when that goes wrong.
            with trio.fail_after(self._timeout + 2 * CONNECT):
                answers = await self._ask(commands)
        except (GlideError, trio.TooSlowError, CaFileError) as error:
            await self._failed()
            # Of a server that is not trusted the library says that it was too slow.
            failure = self._unavailable(await distrust(self.url) or error)
            return [failure] * len(commands)
        if any(map(_is_demoted, answers)):
            await self._failed()
        else:
            self._failing_since = None
        return answers

    async def _ask(self, commands: Sequence[Command]) -> list[object]:
        client = self._client or await self._connected()
        return await client.execute(commands)

    async def _connected(self) -> Client:
        # Of those who come at once one connects.
        async with self._connecting:
            if self._client is None:
                self._client = await connect(self.url, patience=self._timeout)
            return self._client

    async def _failed(self) -> None:
        """Begin anew where nothing was answered for long.

        So the name of the store is looked up again, and which address is the primary.
        """
        now = trio.current_time()
        if self._failing_since is None:
            self._failing_since = now
        elif now >= self._failing_since + _RENEW_AFTER:
            await self._disconnect()

    async def close(self) -> None:
        """Close the connection for good."""
        self._is_over = True
        await self._disconnect()

    async def _disconnect(self) -> None:
        old, self._client = self._client, None
        self._failing_since = None
        if old is not None:
            await old.close()

    def _translate_error(self, answer: object) -> object:
        return self._unavailable(answer) if isinstance(answer, GlideError) else answer

    def _unavailable(self, error: Exception | str) -> EngineUnavailable:
        said = str(error).strip().replace("\n", " ") or "no answer in time"
        return EngineUnavailable(f"the store at {self.url}: {said[:200]}")


def _is_demoted(answer: object) -> bool:
    """Tell whether a replica answers, which was the primary when it was connected."""
    return isinstance(answer, RequestError) and "readonly" in str(answer).lower()


def _is_new(answer: object) -> bool:
    return isinstance(answer, RequestError) and "NoScript" in str(answer)


def _shown(command: Command) -> Command:
    """Return the command that runs the same script, with its text."""
    # To load it would be asked of all servers of a cluster, also those that are away.
    _, sha, *rest = command
    return ["EVAL", _TEXTS[str(sha)], *rest]
