"""The events of the stream: a row of the contract's table for each."""

from __future__ import annotations

from typing import Any, final

import attrs


@final
@attrs.frozen(kw_only=True)
class StreamEvent:
    """An event: *schema* names its data, *has_id* says that it moves the cursor."""

    name: str
    schema: str
    has_id: bool
    when: str

    @property
    def data(self) -> dict[str, Any]:
        """The schema of its data."""
        return {"$ref": f"#/components/schemas/{self.schema}"}

    def row(self) -> dict[str, Any]:
        """Return what the contract's table says of it."""
        return {
            "event": self.name,
            "id": self.has_id,
            "when": self.when,
            "data": self.data,
        }

    def frame(self) -> dict[str, Any]:
        """Return the schema of the whole event, as it is dispatched."""
        data = {
            "type": "string",
            "contentMediaType": "application/json",
            "contentSchema": self.data,
        }
        needed = ["event", "data", "id"] if self.has_id else ["event", "data"]
        return {
            "type": "object",
            "required": needed,
            "properties": {"event": {"const": self.name}, "data": data},
        }


STREAM_EVENTS = (
    StreamEvent(
        name="hello",
        schema="HelloData",
        has_id=False,
        when="Always first. It has no id, so that a connection cut right after it "
        "cannot move the cursor.",
    ),
    StreamEvent(
        name="badge",
        schema="Badge",
        has_id=True,
        when="Level `badge`: the first state, unless `hello` said `current`; then at "
        "each change of the badge. The latest wins.",
    ),
    StreamEvent(
        name="snapshot",
        schema="SnapshotData",
        has_id=True,
        when="Level `items`: at the first connect, and after a gap, an overrun or a "
        "reset.",
    ),
    StreamEvent(
        name="change",
        schema="ChangeData",
        has_id=True,
        when="Level `items`: one for each version that the stream's categories let "
        "through, in order, none skipped.",
    ),
    StreamEvent(
        name="ping",
        schema="PingData",
        has_id=False,
        when="When nothing was sent for `ping` seconds. A client whose own `v` is "
        "lower has lost something and reconnects.",
    ),
    StreamEvent(
        name="reset",
        schema="ResetData",
        has_id=False,
        when="Before state of another epoch, in a running stream.",
    ),
    StreamEvent(
        name="auth",
        schema="AuthData",
        has_id=False,
        when="60 seconds before the proof runs out.",
    ),
    StreamEvent(
        name="bye",
        schema="ByeData",
        has_id=False,
        when="Last, before a planned end, after a line `retry:` that says the same.",
    ),
)
