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

from .tls import check_client_certificate, root_certificates
from .url import StoreUrl

AnyClient: TypeAlias = GlideClient | GlideClusterClient
Command: TypeAlias = list[str | bytes]

CONNECT_TIMEOUT: Final = 0.5
"""Connect timeout in seconds."""

_RECONNECT: Final = BackoffStrategy(num_of_retries=4, factor=50, exponent_base=2)


async def connect(url: StoreUrl, *, command_timeout: float) -> AnyClient:
    """Return a client whose commands time out after *command_timeout* seconds.

    Raises `TlsFileError` and `GlideError`.
    """
    # The library's exceptions contain everything that it would log.
    Logger.init(LogLevel.OFF)
    advanced: dict[str, Any] = {"connection_timeout": round(1_000 * CONNECT_TIMEOUT)}
    if url.has_tls:
        advanced["tls_config"] = _tls(url)
    options: dict[str, Any] = {
        "addresses": _addresses(url),
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


def _addresses(url: StoreUrl) -> list[NodeAddress]:
    if url.socket is not None:
        return [NodeAddress(unix_socket_path=url.socket)]
    return [NodeAddress(host, port) for host, port in url.addresses]


def _tls(url: StoreUrl) -> TlsAdvancedConfiguration:
    """Return the certificates; the library reads those of the client again."""
    options: dict[str, Any] = {}
    if url.ca is not None:
        options["root_pem_cacerts"] = root_certificates(url.ca)
    if url.cert is not None and url.key is not None:
        check_client_certificate(url.cert, url.key)
        options |= {"client_cert_path": url.cert, "client_key_path": url.key}
    return TlsAdvancedConfiguration(**options)


async def execute(client: AnyClient, commands: Sequence[Command]) -> list[object]:
    """Return the reply to each command; an error reply is an exception object."""
    is_cluster = isinstance(client, GlideClusterClient)
    batch: Any = (ClusterBatch if is_cluster else Batch)(is_atomic=False)
    for command in commands:
        batch.custom_command(command)
    return await client.exec(batch, raise_on_error=False) or []
