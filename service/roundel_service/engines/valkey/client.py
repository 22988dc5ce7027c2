"""The client library as a store uses it: how it connects, and is asked much at once.

It connects by itself, again and again, and finds its way in a cluster.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final, TypeAlias, final

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
    Logger,
    LogLevel,
    NodeAddress,
    ServerCredentials,
    TlsAdvancedConfiguration,
)

from .tls import root_certificates
from .url import StoreUrl

Command: TypeAlias = list[str | bytes]

CONNECT: Final = 0.5
"""For how many seconds a connection is waited for."""


@final
class Client:
    """A client of the library, which is made when something is asked first."""

    def __init__(self, client: GlideClient | GlideClusterClient) -> None:
        self._client = client

    async def execute(self, commands: Sequence[Command]) -> list[object]:
        """Return the answer to each command; an error may be one."""
        answers: list[object] | None
        if isinstance(self._client, GlideClusterClient):
            cluster_batch = ClusterBatch(is_atomic=False)
            for command in commands:
                cluster_batch.custom_command(command)
            answers = await self._client.exec(cluster_batch, raise_on_error=False)
        else:
            batch = Batch(is_atomic=False)
            for command in commands:
                batch.custom_command(command)
            answers = await self._client.exec(batch, raise_on_error=False)
        return answers or []

    async def close(self) -> None:
        """Close it; whoever waits for an answer gets an error."""
        await self._client.close()


async def connect(url: StoreUrl, *, patience: float) -> Client:
    """Return a client that waits for an answer for *patience* seconds.

    Raises `CaFileError` and `GlideError`.
    """
    # Whatever the library has to say is in its exceptions, too.
    Logger.init(LogLevel.OFF)
    if url.is_cluster:
        configuration = _cluster_configuration(url, patience)
        return Client(await GlideClusterClient.create(configuration))
    return Client(await GlideClient.create(_configuration(url, patience)))


def _configuration(url: StoreUrl, patience: float) -> GlideClientConfiguration:
    return GlideClientConfiguration(
        _addresses(url),
        use_tls=url.has_tls,
        credentials=_credentials(url),
        request_timeout=round(1_000 * patience),
        reconnect_strategy=_RECONNECT,
        database_id=url.database,
        client_name="roundel",
        lazy_connect=True,
        advanced_config=AdvancedGlideClientConfiguration(
            connection_timeout=round(1_000 * CONNECT), tls_config=_tls(url)
        ),
    )


def _cluster_configuration(
    url: StoreUrl, patience: float
) -> GlideClusterClientConfiguration:
    return GlideClusterClientConfiguration(
        _addresses(url),
        use_tls=url.has_tls,
        credentials=_credentials(url),
        request_timeout=round(1_000 * patience),
        reconnect_strategy=_RECONNECT,
        client_name="roundel",
        lazy_connect=True,
        advanced_config=AdvancedGlideClusterClientConfiguration(
            connection_timeout=round(1_000 * CONNECT), tls_config=_tls(url)
        ),
    )


def _tls(url: StoreUrl) -> TlsAdvancedConfiguration | None:
    if url.ca is None:
        return None
    return TlsAdvancedConfiguration(root_pem_cacerts=root_certificates(url.ca))


def _addresses(url: StoreUrl) -> list[NodeAddress]:
    return [NodeAddress(host, port) for host, port in url.addresses]


def _credentials(url: StoreUrl) -> ServerCredentials | None:
    if url.password is None:
        return None
    return ServerCredentials(url.password, url.user)


_RECONNECT: Final = BackoffStrategy(num_of_retries=4, factor=50, exponent_base=2)
