"""The two errors of the core: the caller's and the peer's."""

from __future__ import annotations


class ProtocolError(Exception):
    """The caller or the peer broke the event stream protocol.

    Only its two subclasses are raised. Any other exception out of the core is a bug of
    the core, or comes from a function that the caller gave.
    """


class LocalProtocolError(ProtocolError, ValueError):
    """The caller used the core in a way that the protocol does not allow.

    The call changed nothing. The message names the argument, the expected and the
    given value.
    """


class RemoteProtocolError(ProtocolError):
    """The peer broke the protocol or exceeded a bound.

    The message names the rule or the bound. The object that raised it accepts no more
    input.
    """
