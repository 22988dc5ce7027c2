"""A client of the badge service for synchronous code."""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Iterable, Mapping
from types import TracebackType
from typing import TYPE_CHECKING, Self, final

from ..documents import BadgeDocument
from ..domain.subscriptions import Since
from ..http.explanation import Explanation
from ..http.responses import (
    BadgeState,
    DeleteUserResponse,
    DisconnectResponse,
    GaugeResponse,
    ItemsResponse,
    LiveResponse,
    NotifyResponse,
    PreferencesResponse,
    PreferencesState,
    RetractResponse,
    StreamsResponse,
    TicketResponse,
    UpdateResponse,
)
from ..http.schemas import Op
from ..http.schemas.topic_responses import (
    DeleteTopicResponse,
    FollowersResponse,
    TopicResponse,
    UserTopicsResponse,
)
from . import calls
from .batch import BatchResponse, check_recipients_of
from .exchange import MAX_RETRIES, TIMEOUT
from .notification import Notification, Recipients
from .sync_transport import SyncTransport
from .transport import Credential, ItemState, target_of

if TYPE_CHECKING:
    from roundel_adapters.client import HttpClient


@final
class BadgeClient:
    """A client for producers and users; each call is repeated while that is safe.

    Use it in a ``with`` block, or call `close()`. Threads may share it. Every call
    raises `BadgeClientError`, and `ValueError` for arguments that cannot be sent.

    Args:
        url: URL of the service, which may have a path.
        key: A producer's key, or a function that returns it for each request.
        token: A user's token, or a function that returns it for each request.
        timeout: Seconds for a call, with all repetitions.
        max_retries: Maximum number of repetitions of a call.
        client: A `Client` of httpx2 or httpx, which the caller closes; by default the
            client has one of its own.
        clock: Returns seconds of a monotonic clock, for tests.
        sleep: Waits for a number of seconds, for tests.
        random: Draws from [0, 1), for tests.
    """

    def __init__(
        self,
        url: str,
        *,
        key: Credential | None = None,
        token: Credential | None = None,
        timeout: float = TIMEOUT,
        max_retries: int = MAX_RETRIES,
        client: HttpClient | None = None,
        clock: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], object] = time.sleep,
        random: Callable[[], float] = random.random,
    ) -> None:
        self._transport = SyncTransport(
            target_of(url, key, token),
            client=client,
            timeout=timeout,
            max_retries=max_retries,
            clock=clock,
            sleep=sleep,
            random=random,
        )

    def __repr__(self) -> str:
        """Return the URL and the role, without the credential."""
        return f"BadgeClient({self._transport.target!r})"

    def __enter__(self) -> Self:
        """Return the client."""
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """Close the client."""
        self.close()

    def close(self) -> None:
        """Close the connections; those of the caller's HTTP client stay open."""
        self._transport.close()

    def notify(
        self,
        to: Recipients,
        title: str,
        *,
        category: str | None = None,
        body: str | None = None,
        url: str | None = None,
        icon: str | None = None,
        key: str | None = None,
        source: str | None = None,
        data: object = None,
        ttl: float | None = None,
        quiet: bool | None = None,
        replaces: str | None = None,
        at: float | None = None,
        idempotency_key: str | None = None,
        check: bool = False,
        timeout: float | None = None,
    ) -> NotifyResponse:
        """Notify the user or users *to*, or the `Followers` of a topic.

        `Notification` has the fields. Each recipient has a result. With *check*, one
        that was not served raises `PartialFailure`; the problem of a sole recipient is
        raised in any case. Calls with the same *idempotency_key* within 24 h are done
        once; by default it is new.
        """
        notification = Notification(
            to,
            title,
            category=category,
            body=body,
            url=url,
            icon=icon,
            key=key,
            source=source,
            data=data,
            ttl=ttl,
            quiet=quiet,
            replaces=replaces,
            at=at,
        )
        call = calls.notify(notification, idempotency_key)
        response = self._transport.perform(call, timeout)
        if check:
            check_recipients_of(response)
        return response

    def batch(
        self,
        notifications: Iterable[Notification],
        *,
        idempotency_key: str | None = None,
        check: bool = False,
        timeout: float | None = None,
    ) -> BatchResponse:
        """Send any number of notifications, and return the result of each.

        They are sent in order, in requests of 64 KiB; *timeout* is for each of these.
        A batch with the *idempotency_key* of an earlier one must have the same lines.
        With *check*, a line or recipient that was not served raises `PartialFailure`
        after the last line. Another error has the `lines` before it.
        """
        response = calls.new_batch(idempotency_key)
        with response.progress() as lines:
            for call in calls.batch(notifications, response):
                done = self._transport.perform(call, timeout)
                lines += done
        if check:
            response.check()
        return response

    def update(
        self,
        to: Recipients,
        set: Mapping[str, object],  # noqa: A002, the name of the field
        *,
        source: str | None = None,
        key: str | None = None,
        category: str | None = None,
        id: str | None = None,  # noqa: A002, the name of the field
        check: bool = False,
        timeout: float | None = None,
    ) -> UpdateResponse:
        """Change items of the user or users *to*, or of a topic, in place.

        *set* maps some of title, body, url, icon, data and ttl to their new values.
        Select the items by *source*, by *key* and *category*, or by *id*. With *check*,
        a recipient that was not served raises `PartialFailure`.
        """
        selection = {"source": source, "key": key, "category": category, "id": id}
        call = calls.update(to, set, selection)
        response = self._transport.perform(call, timeout)
        if check:
            check_recipients_of(response)
        return response

    def retract(
        self,
        *,
        source: str | None = None,
        key: str | None = None,
        category: str | None = None,
        id: str | None = None,  # noqa: A002, the name of the field
        user: str | None = None,
        topic: str | None = None,
        timeout: float | None = None,
    ) -> RetractResponse:
        """Remove the items of a *source*, a *key* and its *category*, or an *id*.

        They are removed from every mailbox, or from that of *user* or *topic*, which an
        *id* needs. Items that wait are cancelled. The topic loses them at once, and its
        followers when they look.
        """
        call = calls.retract(
            source=source, key=key, category=category, id=id, user=user, topic=topic
        )
        return self._transport.perform(call, timeout)

    def change_followers(
        self,
        topic: str,
        *,
        add: Iterable[str] = (),
        remove: Iterable[str] = (),
        since: Since = "now",
        check: bool = False,
        timeout: float | None = None,
    ) -> FollowersResponse:
        """Let the users *add* follow *topic*, and the users *remove* leave it.

        *since* says what new followers pull: ``"now"``, what appears from now on,
        ``"start"``, all that the topic holds, or what was created at a time in seconds
        since 1970 or later. With *check*, a user that was not served raises
        `PartialFailure`.
        """
        call = calls.change_followers(topic, add, remove, since)
        response = self._transport.perform(call, timeout)
        if check:
            check_recipients_of(response)
        return response

    def topic(
        self,
        topic: str,
        *,
        before: int | None = None,
        limit: int | None = None,
        timeout: float | None = None,
    ) -> TopicResponse:
        """Return a page of what *topic* holds, newest first.

        *before* is the `next` of the previous page, *limit* is 1 to 100, by default 50.
        """
        call = calls.topic(topic, before=before, limit=limit)
        return self._transport.perform(call, timeout)

    def delete_topic(
        self, topic: str, *, timeout: float | None = None
    ) -> DeleteTopicResponse:
        """Retract everything that *topic* holds; its followers stay."""
        return self._transport.perform(calls.delete_topic(topic), timeout)

    def explain_topic(self, topic: str, *, timeout: float | None = None) -> Explanation:
        """Return the items of *topic*, without text, and its latest operations."""
        return self._transport.perform(calls.explain_topic(topic), timeout)

    def topics(self, user: str, *, timeout: float | None = None) -> UserTopicsResponse:
        """Return the topics that *user* follows."""
        return self._transport.perform(calls.topics(user), timeout)

    def gauge(
        self,
        user: str,
        category: str,
        count: int,
        *,
        source_version: int,
        timeout: float | None = None,
    ) -> GaugeResponse:
        """Set the *count* of a category that another database owns.

        A *source_version* that is not newer is ignored. `applied` is then false, also
        after a repetition whose first request was lost.
        """
        call = calls.set_gauge(user, category, count, source_version)
        return self._transport.perform(call, timeout)

    def drop_gauge(
        self, user: str, category: str, *, timeout: float | None = None
    ) -> BadgeState:
        """Remove a gauge; a missing one is no error."""
        return self._transport.perform(calls.drop_gauge(user, category), timeout)

    def badge(
        self,
        user: str | None = None,
        *,
        categories: Iterable[str] | None = None,
        known: BadgeDocument | None = None,
        wait: float = 0.0,
        timeout: float | None = None,
    ) -> BadgeDocument:
        """Return the badge of the caller, or for a producer that of *user*.

        With *categories*, at least one, it counts these only, and *known* has to be a
        badge of the same. If the badge is still *known*, the same object is returned,
        after up to *wait* seconds, at most 60.
        """
        return self._transport.perform(
            calls.badge(user, categories, known, wait), timeout
        )

    def items(
        self,
        user: str | None = None,
        *,
        category: str | None = None,
        state: ItemState | None = None,
        before: int | None = None,
        limit: int | None = None,
        timeout: float | None = None,
    ) -> ItemsResponse:
        """Return a page of the caller's items, or for a producer the items of *user*.

        The newest are first. *before* is the `next` of the previous page, *limit* is 1
        to 100, by default 50, and *state* is by default ``active``. Items in the states
        ``snoozed`` and, for a producer, ``scheduled`` have `until`.
        """
        call = calls.items(
            user, category=category, state=state, before=before, limit=limit
        )
        return self._transport.perform(call, timeout)

    def streams(self, user: str, *, timeout: float | None = None) -> StreamsResponse:
        """Return how many streams of *user* are open, at all nodes together."""
        return self._transport.perform(calls.streams(user), timeout)

    def ops(
        self,
        *operations: Op,
        op_id: str | None = None,
        timeout: float | None = None,
    ) -> BadgeState:
        """Apply 1 to 100 operations to the user's mailbox, all or none.

        The same *op_id* within 24 h returns the first result; by default it is new.
        """
        return self._transport.perform(calls.ops(operations, op_id), timeout)

    def preferences(
        self, user: str | None = None, *, timeout: float | None = None
    ) -> PreferencesResponse:
        """Return what the caller has muted, or for a producer what *user* has."""
        return self._transport.perform(calls.preferences(user), timeout)

    def set_muted(
        self,
        user: str | None = None,
        *,
        categories: Iterable[str] = (),
        topics: Iterable[str] = (),
        timeout: float | None = None,
    ) -> PreferencesState:
        """Set what the badge of the caller, or for a producer of *user*, leaves out.

        *categories* and *topics*, up to 64 of each, replace what was muted before.
        Their items stay in the list.
        """
        call = calls.set_muted(user, categories, topics)
        return self._transport.perform(call, timeout)

    def ticket(
        self,
        user: str | None = None,
        *,
        session: float | None = None,
        timeout: float | None = None,
    ) -> TicketResponse:
        """Return a ticket for one stream, of the caller or for a producer of *user*.

        A producer's ticket reopens its stream for *session* seconds, by default 3600.
        """
        return self._transport.perform(calls.ticket(user, session), timeout)

    def explain(self, user: str, *, timeout: float | None = None) -> Explanation:
        """Return why the badge of *user* is what it is."""
        return self._transport.perform(calls.explain(user), timeout)

    def disconnect(
        self,
        user: str,
        *,
        revoke: bool = False,
        issued_before: float | None = None,
        timeout: float | None = None,
    ) -> DisconnectResponse:
        """End the streams of *user*; with *revoke* refuse older credentials for 24 h.

        Older is issued before now, or before *issued_before* in seconds since 1970.
        Without *issued_before* a revocation is not repeated after a lost connection.
        """
        call = calls.disconnect(user, revoke=revoke, issued_before=issued_before)
        return self._transport.perform(call, timeout)

    def delete_user(
        self, user: str, *, timeout: float | None = None
    ) -> DeleteUserResponse:
        """Delete the mailbox of *user*; a new epoch begins."""
        return self._transport.perform(calls.delete_user(user), timeout)

    def live(self, *, timeout: float | None = None) -> LiveResponse:
        """Return whether the process is alive; needs no valid credential."""
        return self._transport.perform(calls.live(), timeout)
