"""What a producer sends: one notification for one or more users."""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import Final, TypeAlias, final

import attrs


@final
@attrs.frozen
class Followers:
    """All users who follow *topic*: 1 to 64 of ``A-Z a-z 0-9 . _ ~ @ : + -``."""

    topic: str


ALL_USERS: Final = Followers("all")
"""All users: each follows the topic `all`."""

Recipients: TypeAlias = str | Iterable[str] | Followers
"""One user, several users, or the followers of a topic."""


def _names(to: Recipients) -> str | tuple[str, ...] | Followers:
    # An iterator could be sent once only.
    return to if isinstance(to, str | Followers) else tuple(to)


def check_finite(name: str, seconds: object) -> None:
    """Raise `ValueError` for NaN and infinity, which JSON has as null: no value."""
    if isinstance(seconds, float) and not math.isfinite(seconds):
        raise ValueError(f"{name}: expected a finite number of seconds")


@final
@attrs.frozen
class Notification:
    """A notification for the user *to*, for the users *to*, or for `Followers`.

    A field that is `None` is not sent, and has the default of the service.

    Args:
        to: The name of a user, the names of up to 1,000, the `Followers` of a topic, or
            `ALL_USERS`.
        title: Its text, not empty.
        category: What the badge counts by: 1 to 64 of ``a-z 0-9 . _ -``; by default
            ``default``.
        body: More text for your page.
        url: Where your page links to.
        icon: An image for your page.
        key: Replaces the user's item of the same category and key.
        source: The subject, by which `retract()` finds the item.
        data: Any JSON for your page, of at most 32 levels.
        ttl: Seconds until the item expires, at most ten years; 0 is never. By default
            that of its category in the service's settings, or never. To a topic 1
            second to 90 days, by default 30 days.
        quiet: Changes an item of the same *key* in place, where it stays read or not.
        replaces: The id of an item that this one replaces.
        at: Seconds since 1970, at most 366 days ahead, such as
            ``datetime.timestamp()``: the item appears then, and *ttl* counts from then.
    """

    to: str | tuple[str, ...] | Followers = attrs.field(converter=_names)
    title: str
    category: str | None = attrs.field(default=None, kw_only=True)
    body: str | None = attrs.field(default=None, kw_only=True)
    url: str | None = attrs.field(default=None, kw_only=True)
    icon: str | None = attrs.field(default=None, kw_only=True)
    key: str | None = attrs.field(default=None, kw_only=True)
    source: str | None = attrs.field(default=None, kw_only=True)
    data: object = attrs.field(default=None, kw_only=True)
    ttl: float | None = attrs.field(default=None, kw_only=True)
    quiet: bool | None = attrs.field(default=None, kw_only=True)
    replaces: str | None = attrs.field(default=None, kw_only=True)
    at: float | None = attrs.field(default=None, kw_only=True)

    def __attrs_post_init__(self) -> None:
        """Raise `ValueError` for a *ttl* or an *at* that is no number of seconds."""
        check_finite("ttl", self.ttl)
        check_finite("at", self.at)

    def document(self) -> dict[str, object]:
        """Return the body of `POST /v1/notify`, with the fields that are given."""
        fields = attrs.asdict(self, recurse=False) | {"to": recipients(self.to)}
        return {name: each for name, each in fields.items() if each is not None}


def recipients(to: Recipients) -> dict[str, object]:
    """Return the field *to* of a request."""
    if isinstance(to, Followers):
        return {"topic": to.topic}
    return {"user": to} if isinstance(to, str) else {"users": [*to]}
