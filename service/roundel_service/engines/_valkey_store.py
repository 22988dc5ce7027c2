"""The store as this engine asks it: commands in, answers out, and never for long.

Everything that is known of the client library is here. It connects by itself, again
and again, and says what went wrong in exceptions of its own.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final, TypeAlias, final

import trio
from glide import (
    AdvancedGlideClientConfiguration,
    AdvancedGlideClusterClientConfiguration,
    BackoffStrategy,
    Batch,
    ClusterBatch,
    GlideClient,
    GlideClientConfiguration,
    GlideClusterClient,
    GlideClusterClientConfiguration,
    GlideError,
    Logger,
    LogLevel,
    NodeAddress,
    RequestError,
    ServerCredentials,
    TlsAdvancedConfiguration,
)

from . import Unavailable
from ._valkey_scripts import ALL, Script
from ._valkey_tls import CaFileError, distrust, root_certificates
from ._valkey_url import StoreUrl

Command: TypeAlias = list[str | bytes]

TIMEOUT: Final = 1.0
"""For how many seconds an answer is waited for."""

_CONNECT: Final = 0.5
_RENEW_AFTER: Final = 1.0
_SHAS: Final = {script.sha: script for script in ALL}


def call(
    script: Script, keys: Sequence[str], arguments: Sequence[str | bytes]
) -> Command:
    """Return the command that runs *script*."""
    return ["EVALSHA", script.sha, str(len(keys)), *keys, *arguments]


@final
class Store:
    """A connection to the store at *url*, which is made when it is needed.

    A read that blocks holds up whatever else is asked of the same connection. An
    answer is waited for *timeout* seconds.
    """

    def __init__(self, url: StoreUrl, *, timeout: float = TIMEOUT) -> None:
        self.url = url
        self._timeout = timeout
        self._client: GlideClient | GlideClusterClient | None = None
        self._failing_since: float | None = None
        self.is_over = False

    async def run(self, commands: Sequence[Command]) -> list[object]:
        """Return the answer to each command; an error is an `Unavailable` there.

        Raises `Unavailable`, and then what became of them is not known.
        """
        answers = await self._run(commands)
        unknown = [number for number, answer in enumerate(answers) if _is_new(answer)]
        if unknown:
            # A server that was restarted knows no script any more.
            await self._run([["SCRIPT", "LOAD", script.text] for script in ALL])
            again = await self._run([commands[number] for number in unknown])
            for number, answer in zip(unknown, again, strict=True):
                answers[number] = answer
        return [self._told(answer) for answer in answers]

    async def _run(self, commands: Sequence[Command]) -> list[object]:
        try:
            # The library keeps its own time; this is for when that goes wrong.
            with trio.fail_after(self._timeout + 2 * _CONNECT):
                answers = await self._execute(commands)
        except (GlideError, trio.TooSlowError, CaFileError) as error:
            await self._failed()
            # Of a server that is not trusted the library says that it was too slow.
            raise self._unavailable(await distrust(self.url) or error) from None
        if any(map(_is_demoted, answers)):
            await self._failed()
        else:
            self._failing_since = None
        return answers

    async def _execute(self, commands: Sequence[Command]) -> list[object]:
        if self.is_over:
            raise Unavailable("the engine has ended")
        client = self._client or await self._connect()
        answers: list[object] | None
        if isinstance(client, GlideClusterClient):
            cluster_batch = ClusterBatch(is_atomic=False)
            for command in commands:
                cluster_batch.custom_command(command)
            answers = await client.exec(cluster_batch, raise_on_error=False)
        else:
            batch = Batch(is_atomic=False)
            for command in commands:
                batch.custom_command(command)
            answers = await client.exec(batch, raise_on_error=False)
        return answers or []

    async def _connect(self) -> GlideClient | GlideClusterClient:
        # Whatever the library has to say is in its exceptions, too.
        Logger.init(LogLevel.OFF)
        if self.url.is_cluster:
            configuration = self._cluster_configuration()
            self._client = await GlideClusterClient.create(configuration)
        else:
            self._client = await GlideClient.create(self._configuration())
        return self._client

    def _configuration(self) -> GlideClientConfiguration:
        return GlideClientConfiguration(
            self._addresses(),
            use_tls=self.url.has_tls,
            credentials=self._credentials(),
            request_timeout=round(1_000 * self._timeout),
            reconnect_strategy=_RECONNECT,
            database_id=self.url.database,
            client_name="roundel",
            lazy_connect=True,
            advanced_config=AdvancedGlideClientConfiguration(
                connection_timeout=round(1_000 * _CONNECT), tls_config=self._tls()
            ),
        )

    def _cluster_configuration(self) -> GlideClusterClientConfiguration:
        return GlideClusterClientConfiguration(
            self._addresses(),
            use_tls=self.url.has_tls,
            credentials=self._credentials(),
            request_timeout=round(1_000 * self._timeout),
            reconnect_strategy=_RECONNECT,
            client_name="roundel",
            lazy_connect=True,
            advanced_config=AdvancedGlideClusterClientConfiguration(
                connection_timeout=round(1_000 * _CONNECT), tls_config=self._tls()
            ),
        )

    def _tls(self) -> TlsAdvancedConfiguration | None:
        if self.url.ca is None:
            return None
        return TlsAdvancedConfiguration(root_pem_cacerts=root_certificates(self.url.ca))

    def _addresses(self) -> list[NodeAddress]:
        return [NodeAddress(host, port) for host, port in self.url.addresses]

    def _credentials(self) -> ServerCredentials | None:
        if self.url.password is None:
            return None
        return ServerCredentials(self.url.password, self.url.user)

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
        self.is_over = True
        await self._disconnect()

    async def _disconnect(self) -> None:
        client, self._client = self._client, None
        self._failing_since = None
        if client is not None:
            await client.close()

    def _told(self, answer: object) -> object:
        return self._unavailable(answer) if isinstance(answer, GlideError) else answer

    def _unavailable(self, error: Exception | str) -> Unavailable:
        said = str(error).strip().replace("\n", " ") or "no answer in time"
        return Unavailable(f"the store at {self.url}: {said[:200]}")


_RECONNECT: Final = BackoffStrategy(num_of_retries=4, factor=50, exponent_base=2)


def _is_demoted(answer: object) -> bool:
    """Tell whether a replica answers, which was the primary when it was connected."""
    return isinstance(answer, RequestError) and "readonly" in str(answer).lower()


def _is_new(answer: object) -> bool:
    return isinstance(answer, RequestError) and "NoScript" in str(answer)
