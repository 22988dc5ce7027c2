"""The events of the stream, with the rows of the contract's table."""

from __future__ import annotations

from typing import Any, final

import attrs
from msgspec import Struct

from ...documents import BadgeDocument
from ...streams.events import (
    AuthData,
    ByeData,
    ChangeData,
    HelloData,
    PingData,
    ResetData,
    SnapshotData,
)
from .components import ref


@final
@attrs.frozen
class StreamEvent:
    """An event that has *data* of that type; *has_id* if it moves the cursor."""

    name: str
    data: type[Struct]
    has_id: bool = attrs.field(kw_only=True)
    when: str = attrs.field(kw_only=True)

    def data_schema(self) -> dict[str, Any]:
        """Return the schema of its data."""
        return ref(self.data.__name__)

    def table_row(self) -> dict[str, Any]:
        """Return the row of the contract's table."""
        return {
            "event": self.name,
            "id": self.has_id,
            "when": self.when,
            "data": self.data_schema(),
        }

    def event_schema(self) -> dict[str, Any]:
        """Return the schema of the whole event, as clients dispatch it."""
        data = {
            "type": "string",
            "contentMediaType": "application/json",
            "contentSchema": self.data_schema(),
        }
        required = ["event", "data", "id"] if self.has_id else ["event", "data"]
        return {
            "type": "object",
            "required": required,
            "properties": {"event": {"const": self.name}, "data": data},
        }


STREAM_EVENTS = (
    StreamEvent(
        "hello",
        HelloData,
        has_id=False,
        when="Always first. It has no id: a connection cut right after it must not "
        "move the cursor.",
    ),
    StreamEvent(
        "badge",
        BadgeDocument,
        has_id=True,
        when="Level `badge`: the first state unless `hello` says `current`, then each "
        "change of the badge. A newer badge supersedes an older one.",
    ),
    StreamEvent(
        "snapshot",
        SnapshotData,
        has_id=True,
        when="Level `items`: at the first connect, after a gap, an overrun or a reset.",
    ),
    StreamEvent(
        "change",
        ChangeData,
        has_id=True,
        when="Level `items`: one for each version that the stream's categories "
        "include, in order, without a gap.",
    ),
    StreamEvent(
        "ping",
        PingData,
        has_id=False,
        when="After `ping` seconds without another event. A client whose own `v` is "
        "lower has lost an event and reconnects.",
    ),
    StreamEvent(
        "reset",
        ResetData,
        has_id=False,
        when="Before state of another epoch, in a running stream.",
    ),
    StreamEvent(
        "auth", AuthData, has_id=False, when="60 seconds before the credential expires."
    ),
    StreamEvent(
        "bye",
        ByeData,
        has_id=False,
        when="Last, before a planned end, after a line `retry:` with the same value.",
    ),
)
