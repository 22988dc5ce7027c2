"""Descriptions of fields and parameters, by type and name."""

from __future__ import annotations

from collections.abc import Mapping

_USER = "1 to 128 characters of `A-Z a-z 0-9 . _ ~ @ : + -`."
_CATEGORY = "The key of the badge's counts: 1 to 64 characters of `a-z 0-9 . _ -`."
_IDS = "Unknown ids are ignored."

FIELDS: Mapping[tuple[str, str], str] = {
    ("NotifyRequest", "to"): "The recipients.",
    ("NotifyRequest", "title"): "The headline.",
    ("NotifyRequest", "category"): _CATEGORY,
    ("NotifyRequest", "body"): "The text below the title.",
    ("NotifyRequest", "url"): "The target of a click.",
    ("NotifyRequest", "icon"): "The URL of an image.",
    ("NotifyRequest", "key"): (
        "Collapse key: the new item replaces the user's item of the same category and "
        "key, and appears as new."
    ),
    ("NotifyRequest", "source"): "The subject of the item; items are retracted by it.",
    ("NotifyRequest", "data"): "Any JSON, for your own client.",
    ("NotifyRequest", "ttl"): "Seconds until the item expires.",
    ("Recipients", "user"): _USER,
    ("Recipients", "users"): "1 to 1,000 users; duplicates are notified once.",
    ("GaugeRequest", "count"): "The count; it adds to `unread` and has no items.",
    ("GaugeRequest", "source_version"): (
        "The version in the database that owns the count; an older or equal version "
        "is ignored."
    ),
    ("DisconnectRequest", "revoke"): (
        "Also reject every credential issued before now, for 24 h."
    ),
    ("TicketRequest", "user"): "The user of the stream. " + _USER,
    ("TicketRequest", "session"): (
        "Seconds during which the ticket's own stream may be reopened; default 3,600."
    ),
    ("OpsRequest", "op_id"): (
        "A name for this call: a repeated call within 24 h gets the first response and "
        "changes nothing."
    ),
    ("OpsRequest", "ops"): "1 to 100 operations, all or none.",
    ("Op", "read"): "Mark as read and seen. " + _IDS,
    ("Op", "unread"): "Mark as unread. " + _IDS,
    ("Op", "archive"): "Archive. " + _IDS,
    ("Op", "unarchive"): "Unarchive. " + _IDS,
    ("Op", "read_upto"): "Mark every item up to this `seq` as read.",
    ("Op", "seen_upto"): "Mark every item up to this `seq` as seen.",
    ("Op", "read_all"): "Mark every item up to `as_of` as read; needs `as_of`.",
    ("Op", "as_of"): "The version that the user saw: newer items stay unread.",
    ("Op", "category"): "Only this category; with `read_upto` or `read_all`.",
    ("Item", "key"): "The collapse key.",
    ("Item", "source"): "The subject of the item.",
    ("Item", "data"): "The producer's JSON.",
    ("Item", "seen"): "A client has shown the item.",
    ("Badge", "more"): "Unread items were evicted: the number is a lower bound.",
    ("BadgeState", "badge"): "The badge at that version.",
    ("ItemsResponse", "next"): "The `before` of the next page; null at the end.",
    ("HelloData", "resume"): (
        "`current`: nothing was missed; `replayed`: the missed events follow; "
        "`snapshot`: the state follows; `reset`: discard all state, then the same."
    ),
    ("HelloData", "proto"): "The version of this protocol.",
    ("ChangeData", "ops"): "The steps, in order; empty for a gauge.",
}

PARAMETERS: Mapping[tuple[str, str], str] = {
    ("BadgeQuery", "wait"): (
        "Seconds to hold the response until the badge differs from `If-None-Match`."
    ),
    ("ItemsQuery", "category"): "Only this category.",
    ("ItemsQuery", "state"): "Which items; `active` items are not archived.",
    ("ItemsQuery", "before"): "Only items of a lower `seq`: the `next` of a page.",
    ("ItemsQuery", "limit"): "The maximum number of items.",
    ("StreamQuery", "level"): "The badge only, or each change of the list too.",
    ("StreamQuery", "categories"): "Only these categories, separated by commas.",
    ("StreamQuery", "cursor"): (
        "The id of the last event received, or the `cursor` of `GET /v1/items`. It is "
        "opaque; `Last-Event-ID` takes precedence. Any value is accepted: `hello` says "
        "how the stream was resumed."
    ),
    ("StreamQuery", "ticket"): "A ticket; see the security schemes.",
    ("RetractQuery", "source"): "Retract the items of this source.",
    ("RetractQuery", "key"): "Retract the items of this key; needs `category`.",
    ("RetractQuery", "category"): "The category of `key`.",
    ("RetractQuery", "user"): "Only from this user's mailbox. " + _USER,
    ("UserPath", "user"): _USER,
    ("GaugePath", "user"): _USER,
    ("GaugePath", "category"): _CATEGORY,
}
