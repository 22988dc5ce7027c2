"""The metrics of the service, with their names, labels and help texts."""

from __future__ import annotations

from collections.abc import Callable
from importlib.metadata import version as version_of
from typing import final

from prometheus_client import CollectorRegistry, generate_latest

from .prometheus import Counter, Families, Gauge, Histogram, Info, Process

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"
"""Media type of `Metrics.text()`."""

METHODS = frozenset({"GET", "HEAD", "POST", "PUT", "DELETE", "OPTIONS", "PATCH"})
"""Methods with a label of their own; clients could invent any number of others."""

# Known label values are exported from the start, since rate() needs a first sample.
_EVENTS = ("hello", "badge", "snapshot", "change", "ping", "reset", "auth", "bye")
_RESUME_OUTCOMES = ("current", "replayed", "snapshot", "reset")
_CLOSE_REASONS = ("drain", "max_age", "expired", "shed", "revoked", "slow")
_ROLES = ("producer", "user")

# Upper bounds of the buckets, in seconds.
_LATENCY_BOUNDS = (
    *(0.000_5, 0.001, 0.002_5, 0.005, 0.01, 0.025, 0.05, 0.1),
    *(0.25, 0.5, 1, 2.5, 5, 10, 30),
)
_LIFETIME_BOUNDS = (
    *(1, 5, 15, 60, 180, 300, 450, 600, 900),
    *(1_800, 3_600, 21_600, 86_400),
)


@final
class Metrics:
    """Holds the metrics of one process; durations are seconds of a monotonic clock.

    The default *version* is that of the installed package.
    """

    def __init__(self, version: str | None = None) -> None:
        self._create_stream_metrics()
        self._create_request_metrics()
        self._create_mailbox_metrics()
        # Each attribute so far is a series.
        series = tuple(vars(self).values())
        info = Info(version or version_of("roundel"))
        self._registry = CollectorRegistry()
        self._registry.register(Families((*series, info, Process())))

    def _create_stream_metrics(self) -> None:
        self._streams_open = Gauge("roundel_streams_open", "Open streams.", int)
        self._draining = Gauge("roundel_draining", "1 while draining, else 0.", bool)
        self._events_sent = Counter(
            "roundel_events_sent",
            "Events handed to connections, by event type.",
            ("event",),
            _EVENTS,
        )
        self._versions_coalesced = Counter(
            "roundel_versions_coalesced",
            "Versions that slow subscribers skipped: a later state replaced them.",
        )
        self._streams_opened = Counter(
            "roundel_streams_opened",
            "Streams opened, by resume outcome.",
            ("resume",),
            _RESUME_OUTCOMES,
        )
        self._delivery_seconds = Histogram(
            "roundel_delivery_seconds",
            "Seconds from a change applied to its event handed to the connection.",
            _LATENCY_BOUNDS,
        )
        self._streams_rejected = Counter(
            "roundel_streams_rejected", "Streams rejected at a limit."
        )
        self._streams_ended = Counter(
            "roundel_streams_ended",
            "Streams ended, by reason.",
            ("reason",),
            _CLOSE_REASONS,
        )
        self._stream_seconds = Histogram(
            "roundel_stream_seconds",
            "Lifetime of streams in seconds.",
            _LIFETIME_BOUNDS,
        )

    def _create_request_metrics(self) -> None:
        self._requests = Counter(
            "roundel_requests",
            "Requests answered, by method, route and status.",
            ("method", "route", "status"),
        )
        self._request_seconds = Histogram(
            "roundel_request_seconds",
            "Seconds from a request to its response, by route.",
            _LATENCY_BOUNDS,
            ("route",),
        )
        self._rate_limited = Counter(
            "roundel_rate_limited",
            "Requests rejected by a rate limit, by role.",
            ("role",),
            _ROLES,
        )

    def _create_mailbox_metrics(self) -> None:
        self._publish_seconds = Histogram(
            "roundel_publish_seconds",
            "Seconds from a notification accepted to applied.",
            _LATENCY_BOUNDS,
        )
        self._gauge_updates_ignored = Counter(
            "roundel_gauge_updates_ignored",
            "Gauge updates ignored: their source_version was not newer.",
        )
        self._audit_checked = Counter(
            "roundel_badge_audit_checked", "Mailboxes recounted by the audit."
        )
        self._audit_mismatch = Counter(
            "roundel_badge_audit_mismatch", "Wrong badges found by the audit; expect 0."
        )

    def events_sent(self, event: str, count: int = 1) -> None:
        """Count events of the type *event* that were handed to a connection."""
        self._events_sent.add(count, (event,))

    def versions_coalesced(self, versions: int) -> None:
        """Count versions that a slow subscriber skipped."""
        self._versions_coalesced.add(versions)

    def stream_opened(self, resume: str) -> None:
        """Count an opened stream with its resume outcome."""
        self._streams_opened.add(1, (resume,))

    def published(self, seconds: float) -> None:
        """Count a notification and its *seconds* from accepted to applied."""
        self._publish_seconds.observe(seconds)

    def delivered(self, seconds: float) -> None:
        """Count a delivered change and its *seconds* from applied to handed over."""
        self._delivery_seconds.observe(seconds)

    def stream_rejected(self) -> None:
        """Count a stream rejected at a limit."""
        self._streams_rejected.add(1)

    def stream_ended(self, reason: str, seconds: float) -> None:
        """Count an ended stream and its lifetime of *seconds*."""
        self._streams_ended.add(1, (reason,))
        self._stream_seconds.observe(seconds)

    def requested(self, method: str, route: str, status: int, seconds: float) -> None:
        """Count a response; *route* is the template, never the requested path."""
        known = method if method in METHODS else "other"
        self._requests.add(1, (known, route, str(status)))
        self._request_seconds.observe(seconds, (route,))

    def limited(self, role: str) -> None:
        """Count a request rejected by a rate limit."""
        self._rate_limited.add(1, (role,))

    def gauge_update_ignored(self) -> None:
        """Count a gauge update that was not newer than the stored gauge."""
        self._gauge_updates_ignored.add(1)

    def audited(self, mailboxes: int) -> None:
        """Count mailboxes recounted by the audit."""
        self._audit_checked.add(mailboxes)

    def mismatch(self) -> None:
        """Count a wrong badge."""
        self._audit_mismatch.add(1)

    def observe(
        self,
        *,
        streams: Callable[[], int] | None = None,
        draining: Callable[[], bool] | None = None,
    ) -> None:
        """Set the functions that return gauges; each scrape calls them, so O(1)."""
        self._streams_open.read = streams or self._streams_open.read
        self._draining.read = draining or self._draining.read

    def text(self) -> bytes:
        """Return all metrics in the Prometheus text format."""
        return generate_latest(self._registry)
