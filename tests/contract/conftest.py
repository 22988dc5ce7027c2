"""The contract holds whichever way a request comes: both are tested."""

from __future__ import annotations

import attrs
import pytest
from werkzeug.routing import Rule

from roundel_adapters.testing import AsgiClient
from roundel_service import app as service
from support.service import World, settings, wall_clock

from ..service.short_way import ShortWay


def _no_builder(rule: Rule, append_unknown: bool = True):
    """Stand for what makes URLs of a rule, which nobody here asks for."""
    return lambda *_: None


@pytest.fixture(params=["asgi", "short"])
async def make_world(request, monkeypatch, nursery):
    """Make a service, with some settings changed, that is asked one way."""
    # To compile it is most of what a service of one test costs.
    monkeypatch.setattr(Rule, "_compile_builder", _no_builder)

    def make(**changes: str) -> World:
        built = service.build(settings(**changes), clock=wall_clock)
        nursery.start_soon(built.run)
        if request.param == "short":
            built = attrs.evolve(built, app=ShortWay(built))
        return World(built, AsgiClient(built.app))

    return make
