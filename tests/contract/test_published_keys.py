"""Tokens of published keys, while their issuer has a fault."""

from __future__ import annotations

import json

import pytest
import trio
from joserfc import jwt
from joserfc.jwk import ECKey

from roundel_adapters.testing import AsgiClient
from roundel_service import app
from roundel_service.identity import jwks
from roundel_service.settings import load
from support.service import KEY, RunningService, body, metric_value, wall_clock

FIRST, SECOND = (ECKey.generate_key("P-256", {"kid": kid}) for kid in "12")


def publish(path, *keys: ECKey) -> None:
    path.write_text(json.dumps({"keys": [key.as_dict(private=False) for key in keys]}))


@pytest.fixture
async def world(tmp_path, nursery):
    """Run a service whose keys are in a file."""
    path = tmp_path / "keys.json"
    publish(path, FIRST)
    flags = {"engine": "memory", "producer_keys": KEY, "jwks": str(path)}
    built = app.build(load(flags, {}), clock=wall_clock)
    await nursery.start(built.run)
    return RunningService(built, AsgiClient(built.app))


async def status(world, key: ECKey) -> int:
    claims = {"sub": "alice", "exp": wall_clock() + 60}
    token = jwt.encode({"alg": "ES256", "kid": key.kid}, claims, key)
    client = world.anonymous.with_headers({"Authorization": f"Bearer {token}"})
    return (await client.request("GET", "/v1/badge")).status


async def readiness(world) -> dict:
    operator = AsgiClient(world.service.operator_app)
    return body(await operator.request("GET", "/readyz"))


@pytest.mark.parametrize("text", ['{"keys": []}', "", "<html>", '{"keys": [{}]}'])
async def test_unusable_set_signs_no_user_out(autojump_clock, world, tmp_path, text):
    """The old keys stay; readiness has a warning as long as it lasts."""
    path = tmp_path / "keys.json"
    path.write_text(text)
    await trio.sleep(jwks.REFRESH_INTERVAL + 1)
    assert (200, {"status": "ready"}) == (
        await status(world, FIRST),
        await readiness(world),
    )
    await trio.sleep(jwks.STALE_AFTER + jwks.MAX_BACKOFF)
    lasting = await readiness(world)
    age = metric_value(world, "roundel_jwks_age_seconds")

    assert 200 == await status(world, FIRST)
    assert ("ready", ["jwks"]) == (lasting["status"], [*lasting["warnings"]])
    assert age > jwks.REFRESH_INTERVAL + jwks.STALE_AFTER
    publish(path, SECOND)
    await trio.sleep(jwks.MAX_BACKOFF)
    assert {"status": "ready"} == await readiness(world)
    assert (401, 200) == (await status(world, FIRST), await status(world, SECOND))
