"""The events of the stream, read from `events.toml`."""

from __future__ import annotations

from typing import Any, Literal, final

from msgspec import Struct

from ..data import read_data
from .components import ref


@final
class StreamEvent(Struct, kw_only=True, forbid_unknown_fields=True):
    """An event that has *data* of the type with that name.

    *has_id* is set if it moves the cursor.
    """

    name: str
    data: str
    has_id: bool
    when: str

    def data_schema(self) -> dict[str, Any]:
        """Return the schema of its data."""
        return ref(self.data)

    def event_schema(self) -> dict[str, Any]:
        """Return the schema of the whole event, as clients dispatch it."""
        data = {
            "type": "string",
            "contentMediaType": "application/json",
            "contentSchema": self.data_schema(),
        }
        fields = {"event": {"const": self.name}, "data": data}
        if self.has_id:
            fields["id"] = {"type": "string"}
        return {"type": "object", "required": list(fields), "properties": fields}


STREAM_EVENTS = read_data(
    "openapi/events.toml", dict[Literal["events"], tuple[StreamEvent, ...]]
)["events"]
"""Every event, in the order of the contract's table."""
