"""The client library's configuration and its pipelined commands.

The library connects on the first command, reconnects, and follows the redirections of
a cluster.
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

CONNECT_TIMEOUT: Final = 0.5
"""Connect timeout in seconds."""

_RECONNECT: Final = BackoffStrategy(num_of_retries=4, factor=50, exponent_base=2)


@final
class Client:
    """A client of one server or of a cluster."""

    def __init__(self, client: GlideClient | GlideClusterClient) -> None:
        self._client = client

    async def execute(self, commands: Sequence[Command]) -> list[object]:
        """Return the reply to each command; an error reply is an exception object."""
        replies: list[object] | None
        if isinstance(self._client, GlideClusterClient):
            cluster_batch = ClusterBatch(is_atomic=False)
            for command in commands:
                cluster_batch.custom_command(command)
            replies = await self._client.exec(cluster_batch, raise_on_error=False)
        else:
            batch = Batch(is_atomic=False)
            for command in commands:
                batch.custom_command(command)
            replies = await self._client.exec(batch, raise_on_error=False)
        return replies or []

    async def close(self) -> None:
        """Close the client; pending commands raise an error."""
        await self._client.close()


async def connect(url: StoreUrl, *, command_timeout: float) -> Client:
    """Return a client whose commands time out after *command_timeout* seconds.

    Raises `CaFileError` and `GlideError`.
    """
    # The library's exceptions contain everything that it would log.
    Logger.init(LogLevel.OFF)
    if url.is_cluster:
        configuration = _cluster_configuration(url, command_timeout)
        return Client(await GlideClusterClient.create(configuration))
    return Client(await GlideClient.create(_configuration(url, command_timeout)))


def _configuration(url: StoreUrl, timeout: float) -> GlideClientConfiguration:
    return GlideClientConfiguration(
        _addresses(url),
        use_tls=url.has_tls,
        credentials=_credentials(url),
        request_timeout=round(1_000 * timeout),
        reconnect_strategy=_RECONNECT,
        database_id=url.database,
        client_name="roundel",
        lazy_connect=True,
        advanced_config=AdvancedGlideClientConfiguration(
            connection_timeout=round(1_000 * CONNECT_TIMEOUT), tls_config=_tls(url)
        ),
    )


def _cluster_configuration(
    url: StoreUrl, timeout: float
) -> GlideClusterClientConfiguration:
    return GlideClusterClientConfiguration(
        _addresses(url),
        use_tls=url.has_tls,
        credentials=_credentials(url),
        request_timeout=round(1_000 * timeout),
        reconnect_strategy=_RECONNECT,
        client_name="roundel",
        lazy_connect=True,
        advanced_config=AdvancedGlideClusterClientConfiguration(
            connection_timeout=round(1_000 * CONNECT_TIMEOUT), tls_config=_tls(url)
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
