"""The bodies of the producers' other calls."""

from __future__ import annotations

from typing import Annotated, final

from msgspec import UNSET, Meta, Struct, UnsetType

from ...domain.operations import Disconnect
from ...domain.revocation import MAX_TIME
from ...identity.tickets import MAX_SESSION
from .fields import MAX_COUNT, User, require_user_name


@final
class GaugeRequest(Struct, forbid_unknown_fields=True):
    """The body of `PUT /v1/users/{user}/gauges/{category}`."""

    count: Annotated[int, Meta(ge=0, le=MAX_COUNT)]
    source_version: Annotated[int, Meta(ge=0, le=MAX_COUNT)]


@final
class DisconnectRequest(Struct, forbid_unknown_fields=True):
    """The body of `POST /v1/users/{user}/disconnect`."""

    revoke: bool = False
    issued_before: Annotated[float, Meta(ge=0, lt=MAX_TIME)] | UnsetType = UNSET

    def operation(self) -> Disconnect:
        """Return the operation on the user's mailbox."""
        given = None if self.issued_before is UNSET else self.issued_before
        return Disconnect(revoke=self.revoke, issued_before=given)


@final
class TicketRequest(Struct, forbid_unknown_fields=True):
    """The body of a producer's `POST /v1/tickets`; *session* is in seconds."""

    user: User
    session: Annotated[float, Meta(gt=0, le=MAX_SESSION)] | UnsetType = UNSET

    def __post_init__(self) -> None:
        """Raise `ValueError` if *user* is not a user name."""
        require_user_name(self.user)


@final
class NoFields(Struct, forbid_unknown_fields=True):
    """An empty object: the body of a user's `POST /v1/tickets`."""
