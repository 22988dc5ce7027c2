"""The metrics of the service, with their names, labels and help texts."""

from __future__ import annotations

from importlib.metadata import version as version_of
from typing import final

from prometheus_client import CollectorRegistry, Gauge, Info, generate_latest

from .logs import dropped_lines
from .prometheus import Counter, CounterFunction, Histogram, Process

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

    Each scrape calls the functions of the gauges, so these must take O(1). The default
    *version* is that of the installed package.
    """

    def __init__(self, version: str | None = None) -> None:
        self._create_stream_metrics()
        self._create_request_metrics()
        self._create_mailbox_metrics()
        self._info = Info("roundel", "Version of the service.", registry=None)
        self._info.info({"version": version or version_of("roundel")})
        # Each attribute so far is a series.
        series = vars(self).values()
        registry = CollectorRegistry()
        for collector in (*series, Process()):
            registry.register(collector)
        self._registry = registry

    def _create_stream_metrics(self) -> None:
        self.streams_open: Gauge = Gauge(
            "roundel_streams_open", "Open streams.", registry=None
        )
        self.draining: Gauge = Gauge(
            "roundel_draining", "1 while draining, else 0.", registry=None
        )
        self.jwks_age: Gauge = Gauge(
            "roundel_jwks_age_seconds",
            "Seconds since the keys of ROUNDEL_JWKS were read, 0 without.",
            registry=None,
        )
        self.events_sent: Counter = Counter(
            "roundel_events_sent",
            "Events handed to connections, by event type.",
            ("event",),
            _EVENTS,
        )
        self.versions_coalesced: Counter = Counter(
            "roundel_versions_coalesced",
            "Versions that slow subscribers skipped: a later state replaced them.",
        )
        self.streams_opened: Counter = Counter(
            "roundel_streams_opened",
            "Streams opened, by resume outcome.",
            ("resume",),
            _RESUME_OUTCOMES,
        )
        self.delivery_seconds: Histogram = Histogram(
            "roundel_delivery_seconds",
            "Seconds from a change applied to its event handed to the connection.",
            _LATENCY_BOUNDS,
        )
        self.streams_rejected: Counter = Counter(
            "roundel_streams_rejected", "Streams rejected at a limit."
        )
        self.streams_ended: Counter = Counter(
            "roundel_streams_ended",
            "Streams ended, by reason.",
            ("reason",),
            _CLOSE_REASONS,
        )
        self.stream_seconds: Histogram = Histogram(
            "roundel_stream_seconds",
            "Lifetime of streams in seconds.",
            _LIFETIME_BOUNDS,
        )

    def _create_request_metrics(self) -> None:
        self.requests: Counter = Counter(
            "roundel_requests",
            "Requests answered, by method, route and status.",
            ("method", "route", "status"),
        )
        self.request_seconds: Histogram = Histogram(
            "roundel_request_seconds",
            "Seconds from a request to its response, by route.",
            _LATENCY_BOUNDS,
            ("route",),
        )
        self.rate_limited: Counter = Counter(
            "roundel_rate_limited",
            "Requests rejected by a rate limit, by role.",
            ("role",),
            _ROLES,
        )

        self.log_lines_dropped: CounterFunction = CounterFunction(
            "roundel_log_lines_dropped",
            "Log lines dropped: standard error did not take them.",
            dropped_lines,
        )

    def _create_mailbox_metrics(self) -> None:
        self.publish_seconds: Histogram = Histogram(
            "roundel_publish_seconds",
            "Seconds from a notification accepted to applied.",
            _LATENCY_BOUNDS,
        )
        self.gauge_updates_ignored: Counter = Counter(
            "roundel_gauge_updates_ignored",
            "Gauge updates ignored: their source_version was not newer.",
        )
        self.pulled: Counter = Counter(
            "roundel_pulled", "Items pulled from topics by sweeps for open streams."
        )
        self.followers_behind: Gauge = Gauge(
            "roundel_followers_behind",
            "Users with open streams who have yet to pull from a topic.",
            registry=None,
        )
        self.sweep_seconds: Histogram = Histogram(
            "roundel_sweep_seconds",
            "Seconds from a change of a topic to the last follower refreshed.",
            _LATENCY_BOUNDS,
        )
        self.audit_checked: Counter = Counter(
            "roundel_badge_audit_checked", "Mailboxes recounted by the audit."
        )
        self.audit_mismatch: Counter = Counter(
            "roundel_badge_audit_mismatch", "Wrong badges found by the audit; expect 0."
        )

    def stream_ended(self, reason: str, seconds: float) -> None:
        """Count an ended stream and its lifetime of *seconds*."""
        self.streams_ended.add(reason)
        self.stream_seconds.observe(seconds)

    def requested(self, method: str, route: str, status: int, seconds: float) -> None:
        """Count a response; *route* is the template, never the requested path."""
        known = method if method in METHODS else "other"
        self.requests.add(known, route, str(status))
        self.request_seconds.observe(seconds, route)

    def text(self) -> bytes:
        """Return all metrics in the Prometheus text format."""
        return generate_latest(self._registry)
