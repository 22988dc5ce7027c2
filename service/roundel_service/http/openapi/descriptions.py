"""What the fields of requests and answers mean, where their types do not say it."""

from __future__ import annotations

from collections.abc import Mapping

_USER = "1 to 128 characters of `A-Z a-z 0-9 . _ ~ @ : + -`."
_CATEGORY = "What the badge counts by: 1 to 64 characters of `a-z 0-9 . _ -`."
_IDS = "Ids that the mailbox does not hold are ignored."

FIELDS: Mapping[tuple[str, str], str] = {
    ("NotifyRequest", "to"): "Whom to notify.",
    ("NotifyRequest", "title"): "The line to show.",
    ("NotifyRequest", "category"): _CATEGORY,
    ("NotifyRequest", "body"): "Some more text.",
    ("NotifyRequest", "url"): "Where a click leads.",
    ("NotifyRequest", "icon"): "The address of a picture.",
    ("NotifyRequest", "key"): (
        "Collapses: the new item replaces the user's item of the same category and "
        "key, and appears as new."
    ),
    ("NotifyRequest", "source"): "What the item is about, to retract it by.",
    ("NotifyRequest", "data"): "Any JSON, for your own client.",
    ("NotifyRequest", "ttl"): "Seconds until the item expires.",
    ("Recipients", "user"): _USER,
    ("Recipients", "users"): "1 to 1,000 of them; each is notified once.",
    ("GaugeRequest", "count"): "The count; it adds to `unread` and has no items.",
    ("GaugeRequest", "source_version"): (
        "Of the database that owns the count; one that is not newer is ignored."
    ),
    ("DisconnectRequest", "revoke"): (
        "Also refuse, from now on, every proof issued before now; kept for 24 h."
    ),
    ("TicketRequest", "user"): "Whose stream it opens. " + _USER,
    ("TicketRequest", "session"): (
        "For how many seconds the ticket's own stream may be reopened; 3,600 if it "
        "is left out."
    ),
    ("OpsRequest", "op_id"): (
        "Your own name for this call: the same again within 24 h answers the same "
        "and does nothing."
    ),
    ("OpsRequest", "ops"): "1 to 100 operations, done all or none.",
    ("Op", "read"): "Mark as read, and as seen. " + _IDS,
    ("Op", "unread"): "Mark as unread. " + _IDS,
    ("Op", "archive"): "Archive. " + _IDS,
    ("Op", "unarchive"): "Take out of the archive. " + _IDS,
    ("Op", "read_upto"): "Mark as read every item up to this `seq`.",
    ("Op", "seen_upto"): "Mark as seen every item up to this `seq`.",
    ("Op", "read_all"): "Mark as read every item up to `as_of`, which goes with it.",
    ("Op", "as_of"): (
        "The version that the user saw: nothing that came after it is touched."
    ),
    ("Op", "category"): "Only this category, with `read_upto` or `read_all`.",
    ("Item", "key"): "It replaced the item of its category and key.",
    ("Item", "source"): "What it is about.",
    ("Item", "data"): "Whatever the producer gave.",
    ("Item", "seen"): "A client has shown it.",
    ("Badge", "more"): "Unread items were evicted: the number is a lower bound.",
    ("BadgeState", "badge"): "The badge at that version.",
    ("ItemsResponse", "next"): "The `before` of the next page; null at the end.",
    ("HelloData", "resume"): (
        "`current`: you have everything; `replayed`: what you missed follows; "
        "`snapshot`: the state follows; `reset`: forget everything, then the same."
    ),
    ("HelloData", "proto"): "The version of this protocol.",
    ("ChangeData", "ops"): "What happened, in order; of a gauge, nothing.",
}

PARAMETERS: Mapping[tuple[str, str], str] = {
    ("BadgeQuery", "wait"): (
        "Hold the answer for up to so many seconds, until the badge is another than "
        "that of `If-None-Match`."
    ),
    ("ItemsQuery", "category"): "Only this category.",
    ("ItemsQuery", "state"): "Which items; `active` is what is not archived.",
    ("ItemsQuery", "before"): "Only items of a lower `seq`: the `next` of a page.",
    ("ItemsQuery", "limit"): "How many items at most.",
    ("StreamQuery", "level"): "Just the number, or each change of the list too.",
    ("StreamQuery", "categories"): "Only these, with a comma between each two.",
    ("StreamQuery", "cursor"): (
        "Where the client stands: the id of the last event it has, or the `cursor` "
        "of `GET /v1/items`. Opaque; `Last-Event-ID` wins over it. Whatever it is, "
        "the stream says in `hello` what it was good for."
    ),
    ("StreamQuery", "ticket"): "A proof, told as one.",
    ("RetractQuery", "source"): "Retract the items of this source.",
    ("RetractQuery", "key"): "Or those of this key, together with `category`.",
    ("RetractQuery", "category"): "The category of `key`.",
    ("RetractQuery", "user"): "Only from this user's mailbox. " + _USER,
    ("UserPath", "user"): _USER,
    ("GaugePath", "user"): _USER,
    ("GaugePath", "category"): _CATEGORY,
}
