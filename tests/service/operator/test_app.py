"""The operator's listener: what a probe and a scrape are told."""

from __future__ import annotations

import json
from collections.abc import Mapping

import pytest
import trio
from structlog.testing import capture_logs

from roundel_adapters.testing import AsgiClient, AsgiResponse
from roundel_service.operator.app import create_operator_app
from roundel_service.telemetry.metrics import Metrics


async def ready() -> Mapping[str, str]:
    return {}


async def broken() -> Mapping[str, str]:
    raise OSError("valkey://user:hunter2@db refused")


async def broken_in_parallel() -> Mapping[str, str]:
    async with trio.open_nursery() as nursery:
        nursery.start_soon(broken)
    return {}


def operator(readiness=ready, metrics: Metrics | None = None) -> AsgiClient:
    app = create_operator_app(metrics=metrics or Metrics(), readiness=readiness)
    return AsgiClient(app)


def seen(answer: AsgiResponse) -> tuple[int, object]:
    return answer.status, json.loads(answer.body)


async def test_process_that_answers_is_alive(autojump_clock):
    """Alive means just that: it does not depend on any other thing being well."""
    answer = await operator(broken).request("GET", "/livez")

    assert (200, {"status": "ok"}) == seen(answer)
    assert answer.headers["content-type"] == "application/json"
    assert answer.headers["cache-control"] == "no-store"


async def test_service_without_a_reason_against_it_is_ready(autojump_clock):
    """Traffic may come."""
    answer = await operator().request("GET", "/readyz")

    assert (200, {"status": "ready"}) == seen(answer)


async def test_service_that_is_not_ready_says_why(autojump_clock):
    """Each reason is told by its name, and no traffic should come."""
    reasons = {"draining": "since 3 s", "engine": "not reachable"}

    async def readiness() -> Mapping[str, str]:
        return reasons

    answer = await operator(readiness).request("GET", "/readyz")

    assert (503, {"status": "not ready", "reasons": reasons}) == seen(answer)
    assert answer.headers["cache-control"] == "no-store"


@pytest.mark.parametrize(
    ("readiness", "name"), [(broken, "OSError"), (broken_in_parallel, "ExceptionGroup")]
)
async def test_readiness_that_fails_is_a_reason(autojump_clock, readiness, name):
    """A probe gets an answer all the same, and no address with a password in it."""
    with capture_logs() as lines:
        answer = await operator(readiness).request("GET", "/readyz")

    reasons = {"readiness": f"failed with {name}"}
    assert (503, {"status": "not ready", "reasons": reasons}) == seen(answer)
    assert ["readiness failed"] == [line["event"] for line in lines]


async def test_readiness_that_takes_too_long_is_a_reason(autojump_clock):
    """A probe never waits for more than 2 s for an engine that hangs."""
    answer = await operator(trio.sleep_forever).request("GET", "/readyz")

    reasons = {"readiness": "not known within 2 s"}
    assert (503, {"status": "not ready", "reasons": reasons}) == seen(answer)
    assert trio.current_time() == 2


async def test_scrape_is_what_was_counted(autojump_clock):
    """Prometheus gets its text, under the media type that it expects."""
    metrics = Metrics()
    metrics.stream_rejected()
    answer = await operator(metrics=metrics).request("GET", "/metrics")

    assert answer.status == 200
    assert answer.headers["content-type"] == "text/plain; version=0.0.4; charset=utf-8"
    assert b"\nroundel_streams_rejected_total 1.0\n" in answer.body


@pytest.mark.parametrize("path", ["/livez", "/readyz", "/metrics"])
async def test_head_is_answered_like_get(autojump_clock, path):
    """Probes that only want the status get it; the server leaves the body out."""
    head = await operator().request("HEAD", path)
    get = await operator().request("GET", path)

    assert (get.status, get.headers["content-type"]) == (
        head.status,
        head.headers["content-type"],
    )


@pytest.mark.parametrize("path", ["/", "/v1/badge", "/livez/", "/metrics/x"])
async def test_anything_else_is_404(autojump_clock, path):
    """Nothing of the service itself can be had here."""
    answer = await operator().request("GET", path)

    assert answer.headers["content-type"] == "application/problem+json"
    assert (404, "urn:roundel:problem:not-found") == (
        answer.status,
        json.loads(answer.body)["type"],
    )


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE", "OPTIONS", "MADE-UP"])
async def test_other_methods_are_405(autojump_clock, method):
    """There is nothing to change, and the methods that there are are told."""
    answer = await operator().request(method, "/metrics")

    assert answer.headers["content-type"] == "application/problem+json"
    assert (405, 405) == (answer.status, json.loads(answer.body)["status"])
    assert {"GET", "HEAD"} == set(answer.headers["allow"].split(", "))
