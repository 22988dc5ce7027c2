"""Loads records from the file into the cache, and finds the damaged ones.

One text holds the mailboxes of many users, because that is the fastest way out of
SQLite (see `schema`). Damage in one of them can hide where it ends. So if any part of
the text is damaged, the users that are still missing are loaded one by one, and only
the damaged mailboxes fail.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from secrets import token_urlsafe
from typing import Protocol, TypeVar, final

import attrs
import trio

from ...domain.mailbox import Mailbox
from ...domain.record import Record, RecordLimits
from ...lru_map import LruMap
from ..base import MailboxDamaged
from ..cache import record_weight
from ..codec.errors import RecordDecodeError
from ..damage import DamageLog
from .database import Database
from .group_commit import StoredRecord
from .rows import decode_loaded, salvage

T = TypeVar("T")


@final
@attrs.frozen
class DamagedMailbox:
    """A mailbox that cannot be decoded: its *error*, and its readable part."""

    error: MailboxDamaged
    salvaged: StoredRecord


class Query(Protocol):
    """Runs a function of the database in a thread."""

    def __call__(self, function: Callable[..., T], *arguments: object) -> Awaitable[T]:
        """Return the result of *function*; raises `EngineUnavailable`."""
        ...


@final
@attrs.frozen
class RecordLoader:
    """Loads records of *database* by *query* into *cache*, and logs damage."""

    _database: Database
    _query: Query
    _cache: LruMap[str, StoredRecord]
    _limits: RecordLimits
    _damage: DamageLog

    async def load(self, missing: set[str]) -> Mapping[str, DamagedMailbox]:
        """Load the records of the users *missing*; return the damaged ones.

        Empties *missing*, whose users are pinned in the cache.
        """
        if not await self._load_together(missing):
            return await self._load_singly(missing)
        for user in missing:
            self._add_unwritten(user)
        return {}

    async def _load_together(self, missing: set[str]) -> bool:
        """Load the stored ones of *missing*, and remove them from the set.

        Returns whether no part was damaged.
        """
        try:
            loaded = await self._query(self._database.load, list(missing))
        except RecordDecodeError:
            return False
        is_sound = True
        for text in loaded:
            try:
                user, stored = self._decode(text)
            except RecordDecodeError:
                is_sound = False
                continue
            is_sound &= user in missing
            missing.discard(user)
            self._add(user, stored)
            await trio.lowlevel.checkpoint()
        return is_sound

    async def _load_singly(self, users: set[str]) -> Mapping[str, DamagedMailbox]:
        damaged = {}
        for user in users:
            found = await self._query(self._database.load_one, user)
            if found is None:
                self._add_unwritten(user)
                continue
            number, text = found
            try:
                _, stored = self._decode(text)
            except RecordDecodeError as error:
                failure = self._damage.record(user, error)
                damaged[user] = DamagedMailbox(failure, salvage(number, text))
            else:
                self._add(user, stored)
            await trio.lowlevel.checkpoint()
        return damaged

    def _decode(self, text: bytes) -> tuple[str, StoredRecord]:
        size = self._limits.change_log_size
        return decode_loaded(text, self._database.generation, size)

    def _add_unwritten(self, user: str) -> None:
        # Random: nothing in a file that lost a mailbox may lead back to an
        # epoch whose versions clients have seen.
        mailbox = Mailbox(epoch=token_urlsafe(9))
        self._add(user, StoredRecord(None, Record(mailbox)))

    def _add(self, user: str, stored: StoredRecord) -> None:
        # A record that was loaded or committed during this load is newer.
        if user not in self._cache:
            self._cache.put(user, stored, record_weight(stored.record))
