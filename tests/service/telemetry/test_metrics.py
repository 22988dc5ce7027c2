"""Metrics: a scrape returns what was counted, in the text format of Prometheus."""

from __future__ import annotations

import re
from collections.abc import Iterable
from importlib.metadata import version

import pytest
from prometheus_client.parser import text_string_to_metric_families

from roundel_service.telemetry.metrics import Metrics
from roundel_service.telemetry.prometheus import Histogram, Process


def scraped(metrics: Metrics) -> dict[str, float]:
    """Return the samples by name and labels, as Prometheus' parser reads them."""
    families = text_string_to_metric_families(metrics.text().decode())
    return {
        _name(sample.name, sample.labels): sample.value
        for family in families
        for sample in family.samples
    }


def _name(name: str, labels: dict[str, str]) -> str:
    inner = ",".join(f"{label}={value}" for label, value in sorted(labels.items()))
    return f"{name}{{{inner}}}" if inner else name


EVENTS = ["hello", "badge", "snapshot", "change", "ping", "reset", "auth", "bye"]
OUTCOMES = ["current", "replayed", "snapshot", "reset"]
CLOSE_REASONS = ["drain", "max_age", "expired", "shed", "revoked", "slow"]

FROM_THE_START = [
    "roundel_streams_open",
    "roundel_draining",
    "roundel_jwks_age_seconds",
    *(f"roundel_events_sent_total{{event={event}}}" for event in EVENTS),
    "roundel_versions_coalesced_total",
    *(f"roundel_streams_opened_total{{resume={outcome}}}" for outcome in OUTCOMES),
    "roundel_publish_seconds_count",
    "roundel_delivery_seconds_count",
    "roundel_stream_seconds_count",
    "roundel_streams_rejected_total",
    *(f"roundel_streams_ended_total{{reason={reason}}}" for reason in CLOSE_REASONS),
    *(f"roundel_rate_limited_total{{role={role}}}" for role in ("producer", "user")),
    "roundel_gauge_updates_ignored_total",
    "roundel_pulled_total",
    "roundel_followers_behind",
    "roundel_sweep_seconds_count",
    "roundel_badge_audit_checked_total",
    "roundel_badge_audit_mismatch_total",
]


@pytest.mark.parametrize("name", FROM_THE_START)
def test_series_is_exported_from_the_start(name):
    """Each series with known labels is exported as 0 before the first event."""
    assert scraped(Metrics())[name] == 0


def test_series_have_help_texts():
    """Each series has a help text and a type."""
    families = list(text_string_to_metric_families(Metrics().text().decode()))

    assert [] == [family.name for family in families if not family.documentation]
    assert {"counter", "gauge", "histogram"} == {family.type for family in families}


COUNTED = [
    (
        lambda m: m.events_sent.add("badge"),
        {"roundel_events_sent_total{event=badge}": 1},
    ),
    (
        lambda m: m.events_sent.add("ping", count=3),
        {"roundel_events_sent_total{event=ping}": 3},
    ),
    (
        lambda m: m.versions_coalesced.add(count=7),
        {"roundel_versions_coalesced_total": 7},
    ),
    (
        lambda m: m.streams_opened.add("reset"),
        {"roundel_streams_opened_total{resume=reset}": 1},
    ),
    (
        lambda m: m.publish_seconds.observe(0.003),
        {
            "roundel_publish_seconds_bucket{le=0.0025}": 0,
            "roundel_publish_seconds_bucket{le=0.005}": 1,
            "roundel_publish_seconds_bucket{le=+Inf}": 1,
            "roundel_publish_seconds_count": 1,
            "roundel_publish_seconds_sum": 0.003,
        },
    ),
    (lambda m: m.delivery_seconds.observe(0.5), {"roundel_delivery_seconds_sum": 0.5}),
    (lambda m: m.streams_rejected.add(), {"roundel_streams_rejected_total": 1}),
    (
        lambda m: m.stream_ended("drain", 500.0),
        {
            "roundel_streams_ended_total{reason=drain}": 1,
            "roundel_stream_seconds_bucket{le=450.0}": 0,
            "roundel_stream_seconds_bucket{le=600.0}": 1,
            "roundel_stream_seconds_sum": 500,
        },
    ),
    (
        lambda m: m.requested("PUT", "/v1/users/<user>", 200, 0.02),
        {
            "roundel_requests_total{method=PUT,route=/v1/users/<user>,status=200}": 1,
            "roundel_request_seconds_sum{route=/v1/users/<user>}": 0.02,
        },
    ),
    (
        lambda m: m.rate_limited.add("user"),
        {"roundel_rate_limited_total{role=user}": 1},
    ),
    (
        lambda m: m.gauge_updates_ignored.add(),
        {"roundel_gauge_updates_ignored_total": 1},
    ),
    (
        lambda m: m.audit_checked.add(count=100),
        {"roundel_badge_audit_checked_total": 100},
    ),
    (lambda m: m.pulled.add(count=5), {"roundel_pulled_total": 5}),
    (
        lambda m: m.followers_behind.set_function(lambda: 9),
        {"roundel_followers_behind": 9},
    ),
    (
        lambda m: m.sweep_seconds.observe(3.2),
        {"roundel_sweep_seconds_count": 1, "roundel_sweep_seconds_sum": 3.2},
    ),
    (lambda m: m.audit_mismatch.add(), {"roundel_badge_audit_mismatch_total": 1}),
    (lambda m: m.streams_open.set_function(lambda: 4), {"roundel_streams_open": 4}),
    (lambda m: m.draining.set_function(lambda: True), {"roundel_draining": 1}),
    (lambda m: m.jwks_age.set_function(lambda: 5), {"roundel_jwks_age_seconds": 5}),
]


@pytest.mark.parametrize(("count", "expected"), COUNTED)
def test_counted_event_is_exported(count, expected):
    """Each update changes its series, with the right labels."""
    metrics = Metrics()
    count(metrics)
    after = scraped(metrics)

    assert expected == {name: after[name] for name in expected}


def _series(names: Iterable[str]) -> set[str]:
    """Return the names of series, without labels and the parts of histograms."""
    return {
        re.sub(r"(_bucket|_count|_sum)?(\{.*)?$", "", name)
        for name in names
        if not name.startswith("process_")
    }


@pytest.mark.parametrize(("count", "expected"), COUNTED)
def test_other_series_stay_the_same(count, expected):
    """Each update changes no series but its own."""
    metrics = Metrics()
    before = scraped(metrics)
    count(metrics)
    after = scraped(metrics)

    moved = (name for name, value in after.items() if value != before.get(name, 0))
    assert _series(expected) == _series(moved)


def test_scrape_does_not_reset_counters():
    """Counters add up over several scrapes."""
    metrics = Metrics()
    for _ in range(3):
        metrics.events_sent.add("badge", count=2)
        metrics.delivery_seconds.observe(0.01)
        scraped(metrics)

    after = scraped(metrics)

    assert after["roundel_events_sent_total{event=badge}"] == 6
    assert after["roundel_delivery_seconds_count"] == 3
    assert after["roundel_delivery_seconds_sum"] == pytest.approx(0.03)


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (0.0, [1, 1, 1]),
        (1.0, [1, 1, 1]),
        (1.001, [0, 1, 1]),
        (10.0, [0, 1, 1]),
        (11.0, [0, 0, 1]),
    ],
)
def test_histogram_buckets(value, expected):
    """A bucket includes its bound, and the last bucket has no bound."""
    histogram = Histogram("h", "Some.", (1, 10))
    histogram.observe(value)
    (family,) = histogram.collect()

    assert expected == [sample.value for sample in family.samples[:3]]


def test_unknown_methods_share_a_series():
    """Invented methods cannot create an unbounded number of series."""
    metrics = Metrics()
    for number in range(1_000):
        metrics.requested(f"M{number}", "none", 405, 0.0)
    requests = {
        name: value
        for name, value in scraped(metrics).items()
        if name.startswith("roundel_requests_total")
    }

    assert {"roundel_requests_total{method=other,route=none,status=405}": 1_000} == (
        requests
    )


def test_gauges_are_read_at_each_scrape():
    """A scrape reads the gauges; `observe()` keeps functions that are not given."""
    streams: list[object] = []
    metrics = Metrics()
    metrics.streams_open.set_function(lambda: len(streams))
    metrics.draining.set_function(lambda: bool(streams))
    streams.append("one")
    after = scraped(metrics)

    assert (1, 1) == (after["roundel_streams_open"], after["roundel_draining"])


@pytest.mark.parametrize(
    ("metrics", "expected"),
    [(Metrics(), version("roundel")), (Metrics("2.0.1"), "2.0.1")],
)
def test_version(metrics, expected):
    """The version is a label of `roundel_info`."""
    assert scraped(metrics)[f"roundel_info{{version={expected}}}"] == 1


def test_process_metrics():
    """The process metrics have the names of other Prometheus clients."""
    after = scraped(Metrics())

    assert after["process_cpu_seconds_total"] > 0
    assert after["process_resident_memory_bytes"] > 1_000_000
    assert 3 <= after["process_open_fds"] < 10_000


def test_process_metrics_without_proc(tmp_path):
    """Without /proc only the CPU time is exported."""
    families = list(Process(tmp_path / "proc").collect())

    assert ["process_cpu_seconds"] == [family.name for family in families]
