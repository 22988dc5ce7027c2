"""The operator's listener: health checks and metrics."""

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


def parsed(answer: AsgiResponse) -> tuple[int, object]:
    return answer.status, json.loads(answer.body)


async def test_livez(autojump_clock):
    """A liveness check does not depend on the engine or on anything else."""
    answer = await operator(broken).request("GET", "/livez")

    assert (200, {"status": "ok"}) == parsed(answer)
    assert answer.headers["content-type"] == "application/json"
    assert answer.headers["cache-control"] == "no-store"


async def test_ready(autojump_clock):
    """A service without a reason against it is ready."""
    answer = await operator().request("GET", "/readyz")

    assert (200, {"status": "ready"}) == parsed(answer)


async def test_ready_with_a_warning(autojump_clock):
    """A warning does not take the service out of a load balancer."""
    app = create_operator_app(
        metrics=Metrics(), readiness=ready, warnings=lambda: {"jwks": "old"}
    )
    answer = await AsgiClient(app).request("GET", "/readyz")

    assert (200, {"status": "ready", "warnings": {"jwks": "old"}}) == parsed(answer)


async def test_not_ready(autojump_clock):
    """The response of a service that is not ready is 503 and names the reasons."""
    reasons = {"draining": "since 3 s", "engine": "not reachable"}

    async def readiness() -> Mapping[str, str]:
        return reasons

    answer = await operator(readiness).request("GET", "/readyz")

    assert (503, {"status": "not ready", "reasons": reasons}) == parsed(answer)
    assert answer.headers["cache-control"] == "no-store"


@pytest.mark.parametrize(
    ("readiness", "name"), [(broken, "OSError"), (broken_in_parallel, "ExceptionGroup")]
)
async def test_readiness_that_fails_is_a_reason(autojump_clock, readiness, name):
    """An error in the check is a reason, without a password in the response."""
    with capture_logs() as lines:
        answer = await operator(readiness).request("GET", "/readyz")

    reasons = {"readiness": f"failed with {name}"}
    assert (503, {"status": "not ready", "reasons": reasons}) == parsed(answer)
    assert ["readiness failed"] == [line["event"] for line in lines]


async def test_readiness_that_takes_too_long_is_a_reason(autojump_clock):
    """A readiness check takes at most 2 s, even if the engine hangs."""
    answer = await operator(trio.sleep_forever).request("GET", "/readyz")

    reasons = {"readiness": "not known within 2 s"}
    assert (503, {"status": "not ready", "reasons": reasons}) == parsed(answer)
    assert trio.current_time() == 2


async def test_metrics(autojump_clock):
    """A scrape returns the counters in the text format of Prometheus."""
    metrics = Metrics()
    metrics.streams_rejected.add()
    answer = await operator(metrics=metrics).request("GET", "/metrics")

    assert answer.status == 200
    assert answer.headers["content-type"] == "text/plain; version=0.0.4; charset=utf-8"
    assert b"\nroundel_streams_rejected_total 1.0\n" in answer.body


@pytest.mark.parametrize("path", ["/livez", "/readyz", "/metrics"])
async def test_head(autojump_clock, path):
    """HEAD returns the status and media type of GET."""
    head = await operator().request("HEAD", path)
    get = await operator().request("GET", path)

    assert (get.status, get.headers["content-type"]) == (
        head.status,
        head.headers["content-type"],
    )


@pytest.mark.parametrize("path", ["/", "/v1/badge", "/livez/", "/metrics/x", "//livez"])
async def test_other_paths_are_404(autojump_clock, path):
    """The listener serves no path of the public API."""
    answer = await operator().request("GET", path)

    assert answer.headers["content-type"] == "application/problem+json"
    assert (404, "urn:roundel:problem:not-found") == (
        answer.status,
        json.loads(answer.body)["type"],
    )


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE", "OPTIONS", "MADE-UP"])
async def test_other_methods_are_405(autojump_clock, method):
    """A method other than GET and HEAD is 405 with `Allow`."""
    answer = await operator().request(method, "/metrics")

    assert answer.headers["content-type"] == "application/problem+json"
    assert (405, 405) == (answer.status, json.loads(answer.body)["status"])
    assert {"GET", "HEAD"} == set(answer.headers["allow"].split(", "))
