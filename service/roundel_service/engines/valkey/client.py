"""The client library's configuration and its pipelined commands.

The library connects on the first command, reconnects, and follows the redirections of
a cluster.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final, TypeAlias

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

AnyClient: TypeAlias = GlideClient | GlideClusterClient
Command: TypeAlias = list[str | bytes]

CONNECT_TIMEOUT: Final = 0.5
"""Connect timeout in seconds."""

_RECONNECT: Final = BackoffStrategy(num_of_retries=4, factor=50, exponent_base=2)


async def connect(url: StoreUrl, *, command_timeout: float) -> AnyClient:
    """Return a client whose commands time out after *command_timeout* seconds.

    Raises `CaFileError` and `GlideError`.
    """
    # The library's exceptions contain everything that it would log.
    Logger.init(LogLevel.OFF)
    advanced: dict[str, Any] = {"connection_timeout": round(1_000 * CONNECT_TIMEOUT)}
    if url.ca is not None:
        authorities = root_certificates(url.ca)
        advanced["tls_config"] = TlsAdvancedConfiguration(root_pem_cacerts=authorities)
    options: dict[str, Any] = {
        "addresses": [NodeAddress(host, port) for host, port in url.addresses],
        "use_tls": url.has_tls,
        "request_timeout": round(1_000 * command_timeout),
        "reconnect_strategy": _RECONNECT,
        "lazy_connect": True,
    }
    if url.password is not None:
        options["credentials"] = ServerCredentials(url.password, url.user)
    if url.is_cluster:
        return await GlideClusterClient.create(
            GlideClusterClientConfiguration(
                **options,
                advanced_config=AdvancedGlideClusterClientConfiguration(**advanced),
            )
        )
    return await GlideClient.create(
        GlideClientConfiguration(
            **options,
            database_id=url.database,
            advanced_config=AdvancedGlideClientConfiguration(**advanced),
        )
    )


async def execute(client: AnyClient, commands: Sequence[Command]) -> list[object]:
    """Return the reply to each command; an error reply is an exception object."""
    is_cluster = isinstance(client, GlideClusterClient)
    batch: Any = (ClusterBatch if is_cluster else Batch)(is_atomic=False)
    for command in commands:
        batch.custom_command(command)
    return await client.exec(batch, raise_on_error=False) or []
