"""Credentials, and the callers that they identify."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TypeAlias, final

import attrs

from .tickets import Ticket


@final
@attrs.frozen(kw_only=True, repr=False)
class Credentials:
    """The credentials in a request; only the stream route accepts a *ticket*.

    *authorization* has the value of each such field, *cookies* that of each cookie with
    the name of the service's.
    """

    authorization: tuple[str, ...] = ()
    cookies: tuple[str, ...] = ()
    ticket: str | None = None


@final
@attrs.frozen
class Producer:
    """A backend that presented a producer key; *number* is its position, from 1."""

    number: int


@final
@attrs.frozen(kw_only=True)
class User:
    """A user, authenticated until *expires_at*; times are in seconds since 1970.

    *issued_at* is in 1970 for a token without `iat`, so any revocation applies to it.
    *by_cookie* marks a credential that a browser adds to requests of any page.
    *ticket* is set if the credential was a ticket. *topics* are those of the token's
    claim, by name: the user pulls items created at that time or later.
    """

    name: str
    expires_at: float
    issued_at: float
    by_cookie: bool = False
    ticket: Ticket | None = None
    topics: Mapping[str, float] | None = None


Caller: TypeAlias = Producer | User
