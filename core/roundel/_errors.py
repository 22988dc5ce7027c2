from __future__ import annotations


class ProtocolError(Exception):
    """The event stream protocol was broken, by you or by the peer.

    It is only ever raised as one of its two subclasses. Any other exception that
    comes out of the core is a bug in the core.
    """


class LocalProtocolError(ProtocolError, ValueError):
    """You called the core in a way the protocol does not allow.

    Nothing was changed and nothing was written; the message names the argument,
    what was expected and what came.
    """


class RemoteProtocolError(ProtocolError):
    """The peer broke the protocol or went over one of your bounds.

    The message names the rule or the bound. The object that raised it takes no
    more input.
    """
