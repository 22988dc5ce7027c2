"""Why an operation may be refused: each is a limit of the mailbox."""

from __future__ import annotations

from typing import final


class OperationRefused(Exception):  # noqa: N818, named after the condition
    """The operation would exceed a limit of the mailbox; no change."""


@final
class TooManyCategories(OperationRefused):
    """The operation would exceed the mailbox's limit of categories."""


@final
class ItemTooLarge(OperationRefused):
    """The operation would make an item larger than `MAX_ITEM_SIZE`."""


@final
class TooManyWaiting(OperationRefused):
    """The operation would exceed the mailbox's limit of items that wait."""


@final
class TooManySubscriptions(OperationRefused):
    """The operation would exceed the mailbox's limit of topics."""
