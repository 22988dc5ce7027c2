"""Errors of authentication; the `http` package maps each to a problem response."""

from __future__ import annotations

from typing import final


@final
class InvalidCredentials(Exception):  # noqa: N818, RFC 9110 11.4 names credentials
    """A request without credentials, or with invalid ones; quotes none of them."""


@final
class WrongRole(Exception):  # noqa: N818, named by its cause
    """Valid credentials of a user where a producer's are required, or vice versa."""


@final
class KeysUnavailable(Exception):  # noqa: N818, named by its cause
    """A token that cannot be verified, since no key has been loaded yet."""
