"""What an operator can watch: everything that is counted, by its name and its words."""

from __future__ import annotations

from collections.abc import Callable
from importlib.metadata import version as version_of
from typing import final

from prometheus_client import CollectorRegistry, generate_latest

from .prometheus import Counter, Families, Gauge, Histogram, Info, Process

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"
"""The media type of `Metrics.text()`."""

METHODS = frozenset({"GET", "HEAD", "POST", "PUT", "DELETE", "OPTIONS", "PATCH"})
"""The methods counted by name: a peer can make up any number of others."""

# The words of the contract are there from the start: a rate needs a first value.
_EVENTS = ("hello", "badge", "snapshot", "change", "ping", "reset", "auth", "bye")
_OUTCOMES = ("current", "replayed", "snapshot", "reset")
_WHYS = ("drain", "max_age", "expired", "shed", "revoked", "slow")
_ROLES = ("producer", "user")

# Upper bounds, in seconds.
_SHORT = (
    *(0.000_5, 0.001, 0.002_5, 0.005, 0.01, 0.025, 0.05, 0.1),
    *(0.25, 0.5, 1, 2.5, 5, 10, 30),
)
_LONG = (1, 5, 15, 60, 180, 300, 450, 600, 900, 1_800, 3_600, 21_600, 86_400)


@final
class Metrics:
    """Counts what the service does; times are seconds of a clock that never steps.

    *version* is told as it is; without it, it is that of the installed package.
    """

    def __init__(self, version: str | None = None) -> None:
        self._count_streams()
        self._count_requests()
        self._count_mailboxes()
        # Every attribute so far is a series.
        counted = tuple(vars(self).values())
        about = Info(version or version_of("roundel"))
        self._registry = CollectorRegistry()
        self._registry.register(Families((*counted, about, Process())))

    def _count_streams(self) -> None:
        self._streams = Gauge("roundel_streams", "Streams that are open.", int)
        self._draining = Gauge("roundel_draining", "1 while draining, else 0.", bool)
        self._frames = Counter(
            "roundel_frames_sent",
            "Frames handed to connections, by event.",
            ("event",),
            _EVENTS,
        )
        self._conflated = Counter(
            "roundel_conflated", "Versions that slow readers were not told one by one."
        )
        self._resumes = Counter(
            "roundel_resume",
            "Streams opened, by the outcome of their resume.",
            ("outcome",),
            _OUTCOMES,
        )
        self._delivered = Histogram(
            "roundel_delivery_seconds",
            "Time of a change from applied to handed to the connection, in seconds.",
            _SHORT,
        )
        self._shed = Counter("roundel_shed", "Streams turned away at a limit.")
        self._ended = Counter(
            "roundel_streams_ended", "Streams that ended, by why.", ("why",), _WHYS
        )
        self._lifetimes = Histogram(
            "roundel_stream_seconds", "How long streams lasted, in seconds.", _LONG
        )

    def _count_requests(self) -> None:
        self._requests = Counter(
            "roundel_requests",
            "Requests answered, by method, route and status.",
            ("method", "route", "status"),
        )
        self._answers = Histogram(
            "roundel_request_seconds",
            "Time to the answer of a request, by route, in seconds.",
            _SHORT,
            ("route",),
        )
        self._limited = Counter(
            "roundel_rate_limited",
            "Requests that a rate limit refused, by role.",
            ("role",),
            _ROLES,
        )

    def _count_mailboxes(self) -> None:
        self._users = Gauge("roundel_users", "Mailboxes that are known.")
        self._published = Histogram(
            "roundel_publish_seconds",
            "Time of a notification from accepted to applied, in seconds.",
            _SHORT,
        )
        self._stale_gauges = Counter(
            "roundel_stale_gauges",
            "Gauges ignored: their source_version was not newer.",
        )
        self._audited = Counter(
            "roundel_badge_audit_checked", "Mailboxes that the audit counted again."
        )
        self._mismatches = Counter(
            "roundel_badge_audit_mismatch", "Wrong badges that were found; must stay 0."
        )

    def events_sent(self, event: str, count: int = 1) -> None:
        """Count frames that were handed to a connection."""
        self._frames.add(count, (event,))

    def versions_coalesced(self, versions: int) -> None:
        """Count the versions that a slow reader was not told one by one."""
        self._conflated.add(versions)

    def stream_opened(self, outcome: str) -> None:
        """Count a stream that was opened."""
        self._resumes.add(1, (outcome,))

    def published(self, seconds: float) -> None:
        """Count a notification, and how long it took from accepted to applied."""
        self._published.observe(seconds)

    def delivered(self, seconds: float) -> None:
        """Count a change told, and how long it took from applied to handed over."""
        self._delivered.observe(seconds)

    def stream_rejected(self) -> None:
        """Count a stream that was turned away at a limit."""
        self._shed.add(1)

    def stream_ended(self, reason: str, seconds: float) -> None:
        """Count a stream that ended after so many *seconds*."""
        self._ended.add(1, (reason,))
        self._lifetimes.observe(seconds)

    def requested(self, method: str, route: str, status: int, seconds: float) -> None:
        """Count an answer; *route* is the template, never the path that was asked."""
        known = method if method in METHODS else "other"
        self._requests.add(1, (known, route, str(status)))
        self._answers.observe(seconds, (route,))

    def limited(self, role: str) -> None:
        """Count a request that a rate limit refused."""
        self._limited.add(1, (role,))

    def gauge_update_ignored(self) -> None:
        """Count a gauge that was not newer than what is known."""
        self._stale_gauges.add(1)

    def audited(self, mailboxes: int) -> None:
        """Count mailboxes that the audit counted again."""
        self._audited.add(mailboxes)

    def mismatch(self) -> None:
        """Count a wrong badge."""
        self._mismatches.add(1)

    def observe(
        self,
        *,
        streams: Callable[[], int] | None = None,
        users: Callable[[], int] | None = None,
        draining: Callable[[], bool] | None = None,
    ) -> None:
        """Read these at each scrape; they have to be quick."""
        self._streams.read = streams or self._streams.read
        self._users.read = users or self._users.read
        self._draining.read = draining or self._draining.read

    def text(self) -> bytes:
        """Return everything in Prometheus' text format."""
        return generate_latest(self._registry)
