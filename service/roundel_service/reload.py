"""Reloads a running service: new secrets, key files and CORS origins."""

from __future__ import annotations

from typing import final

import attrs
import structlog

from . import app
from .identity.jwks import JwksClient
from .settings import Settings

RELOADABLE = frozenset({"producer_keys", "jwt_secret", "cors_origins"})
"""The settings that a reload can replace."""

log: structlog.typing.FilteringBoundLogger = structlog.get_logger(__name__)


@final
class Reloader:
    """Applies changed *settings* to a running *service*."""

    def __init__(self, service: app.Service, settings: Settings) -> None:
        self._service = service
        self._settings = settings

    async def apply(self, settings: Settings) -> None:
        """Replace what a reload can replace, and log the names of what changed.

        The file or URL of `ROUNDEL_JWKS` is read again. Open streams stay open. Raises
        `ValueError` for an unusable secret, before any change.
        """
        changed = [
            field.name
            for field in attrs.fields(Settings)
            if getattr(settings, field.name) != getattr(self._settings, field.name)
        ]
        replaced = RELOADABLE
        if "jwks" in changed:
            # Tokens are then verified in another way, which needs other tasks.
            replaced -= {"jwt_secret"}
        values = {name: getattr(settings, name) for name in replaced}
        used = attrs.evolve(self._settings, **values)
        app.replace_secrets(self._service, used)
        self._settings = used
        applied = [name for name in changed if name in replaced]
        keys = self._service.authenticator.keys
        if isinstance(keys, JwksClient) and await keys.reload():
            applied.append("jwks")
        log.info("settings reloaded", changed=applied)
        if needs_restart := [name for name in changed if name not in replaced]:
            log.warning("settings need a restart", changed=needs_restart)
