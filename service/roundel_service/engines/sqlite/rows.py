"""The rows that a batch writes, and the decoding of what is loaded.

An update becomes an entry, or a snapshot that replaces the entries before it: see
`roundel_service.engines.codec`.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Final, TypeAlias, cast, final

import attrs
import msgspec
import structlog

from ...domain.items import Item
from ...domain.log.entry import LogEntry, entry_between
from ...domain.mailbox import Mailbox
from ...domain.record import Record
from ...domain.waiting import Waiting
from ..base import EngineUnavailable
from ..codec.decoding import decode_head, decode_stored
from ..codec.encoding import encode_entry, encode_snapshot
from ..codec.errors import RecordDecodeError, describe
from ..codec.policy import is_snapshot_due
from ..codec.tags import item_tags
from . import schema
from .group_commit import CommitBatch, MailboxUpdate, StoredRecord

Values: TypeAlias = list[str | bytes | int | float]

MICROSECONDS: Final = 1_000_000

log: structlog.typing.FilteringBoundLogger = structlog.get_logger(__name__)


def encode_text(value: str) -> str:
    """Return *value* as JSON, which contains no control characters."""
    return msgspec.json.encode(value).decode()


def decode_text(encoded: bytes) -> str:
    """Return the text that `encode_text()` encoded."""
    return msgspec.json.decode(encoded, type=str)


def decode_claim(key: str, encoded: bytes | None) -> str:
    """Return the value of the claim *key*; raises `EngineUnavailable`."""
    try:
        return decode_text(encoded or b"")
    except Exception as error:
        log.warning("claim unreadable", name=key, reason=describe(error))
        raise EngineUnavailable("a claim could not be read") from None


@final
@attrs.define(kw_only=True)
class BatchRows:
    """The rows of a batch, as the values of its statements.

    *now* is in seconds since 1970. *last_entry* is the number of the last entry in the
    file.
    """

    generation: str
    now: float
    last_entry: int
    entries: Values = attrs.field(factory=list)
    snapshots: Values = attrs.field(factory=list)
    without_entries: Values = attrs.field(factory=list)
    """The ids of mailboxes whose entries are deleted."""
    removed_mailboxes: Values = attrs.field(factory=list)
    touched: list[tuple[float, int]] = attrs.field(factory=list)
    added_tags: Values = attrs.field(factory=list)
    removed_tags: list[tuple[str, int]] = attrs.field(factory=list)
    claims: Values = attrs.field(factory=list)

    def add(self, name: str, update: MailboxUpdate) -> None:
        """Add the rows of one mailbox: all, or none if one cannot be encoded.

        Sets the number of entries after the update.
        """
        name.encode()
        entry = _entry(update)
        added, removed = _tag_changes(update, entry)
        if update.removes_mailbox:
            assert update.before.id is not None
            self.removed_mailboxes.append(update.before.id)
            self.without_entries.append(update.before.id)
            self.removed_tags += [(tag, update.before.id) for tag in removed]
            removed = set()
        stored = self._add_mailbox(name, update, entry)
        if (number := update.after.id) is not None:
            for tag in added:
                self.added_tags += (tag, number)
            self.removed_tags += [(tag, number) for tag in removed]
        update.after = attrs.evolve(update.after, entries=stored, written_at=self.now)
        update.previous = None

    def _add_mailbox(
        self, name: str, update: MailboxUpdate, entry: LogEntry | None
    ) -> int:
        """Add a snapshot or *entry*; return the number of entries then."""
        number, stored = update.after.id, update.entries_before
        if number is None:
            return 0
        if entry is not None and not _needs_snapshot(entry, stored, update):
            row = encode_entry(entry, stored + 1)
            self.entries += (self._next_entry(), number, row)
            return stored + 1
        body = encode_snapshot(update.after.record)
        self.snapshots += (number, name, self.generation, self.now, body)
        if stored or update.before.is_salvaged:
            self.without_entries.append(number)
        return 0

    def _next_entry(self) -> int:
        self.last_entry = max(self.last_entry + 1, int(self.now * MICROSECONDS))
        return self.last_entry

    def add_others(self, batch: CommitBatch) -> None:
        """Add what *batch* writes besides mailboxes."""
        self.touched += [(time, number) for number, time in batch.touched.items()]
        for key, (value, expires_at) in batch.claims.items():
            self.claims += (encode_text(key), encode_text(value), expires_at)


def _entry(update: MailboxUpdate) -> LogEntry | None:
    """Return the entry of *update*, or `None` if it needs a snapshot."""
    before = update.before
    if before.id is None or update.removes_mailbox:
        return None
    return entry_between(before.record, update.after.record)


def _needs_snapshot(entry: LogEntry, stored: int, update: MailboxUpdate) -> bool:
    if update.before.is_salvaged:
        return False  # The content may be repaired.
    items = len(update.after.record.mailbox.items)
    return entry.withdraws_text or is_snapshot_due(stored, items)


def _tag_changes(
    update: MailboxUpdate, entry: LogEntry | None
) -> tuple[set[str], set[str]]:
    """Return the tags of new and changed items, and the tags that no item has now."""
    new = update.after.record.mailbox
    is_new = update.before.id is None
    old = Mailbox(epoch="") if is_new else update.before.record.mailbox
    if entry is None:
        added, removed = mailbox_tags(new), mailbox_tags(old)
    else:
        added = tags_of([*entry.items, *_waiting_items(entry)])
        removed = tags_of(_replaced_items(old, entry))
    removed -= added
    # Most items have no tag, or share it with the item that replaces them.
    return added, removed - mailbox_tags(new) if removed else removed


def _waiting_items(entry: LogEntry) -> list[Item]:
    delta = entry.mappings.get("waiting")
    waiting = cast("Mapping[str, Waiting]", delta.put) if delta else {}
    return [each.item for each in waiting.values()]


def _replaced_items(old: Mailbox, entry: LogEntry) -> list[Item]:
    """Return the items of *old* that *entry* removes or changes."""
    ids = {*entry.removed, *(item.id for item in entry.items if item.updated_at)}
    if (waiting := entry.mappings.get("waiting")) is not None:
        ids.update(waiting.put, waiting.drop)
    if not ids:
        return []
    found = [each.item for id_, each in old.waiting.items() if id_ in ids]
    missing = len(ids) - len(found)
    # An evicted item is one of the oldest: the first ones are compared.
    for item in old.items.values():
        if not missing:
            break
        if item.id in ids:
            found.append(item)
            missing -= 1
    return found


def mailbox_tags(mailbox: Mailbox) -> set[str]:
    """Return the tags of all items of *mailbox* as JSON, also of those that wait."""
    waiting = (each.item for each in mailbox.waiting.values())
    return tags_of((*mailbox.items.values(), *waiting))


def tags_of(items: Iterable[Item]) -> set[str]:
    """Return the tags of *items* as JSON, by which retractions find them."""
    return {encode_text(tag) for item in items for tag in item_tags(item)}


def split(loaded: bytes | None, separator: bytes) -> list[bytes]:
    """Return the parts of a loaded text, which is empty or `None` without parts."""
    return loaded.split(separator) if loaded else []


def decode_loaded(
    loaded: bytes, generation: str, change_log_size: int
) -> tuple[str, StoredRecord]:
    """Return the user name and the record of one loaded mailbox.

    Raises `RecordDecodeError`.
    """
    try:
        number, name, made_in, body, rows = loaded.split(schema.PART)
        entries = split(rows, schema.ROW)
        record = decode_stored(body, entries, change_log_size=change_log_size)
        stored = StoredRecord(
            int(number),
            record,
            entries=len(entries),
            is_old=made_in != generation.encode(),
        )
        return name.decode(), stored
    except Exception as error:
        raise RecordDecodeError(describe(error)) from None


def salvage(number: int, loaded: bytes) -> StoredRecord:
    """Return the readable part of a damaged mailbox with the row id *number*."""
    rest, _, rows = loaded.rpartition(schema.PART)
    *_, body = rest.split(schema.PART, 3)
    entries = split(rows, schema.ROW)
    record = Record(decode_head(body, entries))
    return StoredRecord(number, record, entries=len(entries), is_salvaged=True)
