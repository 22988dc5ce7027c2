"""The reference page has each argument of the clients, with its default."""

from __future__ import annotations

import inspect
import re
from pathlib import Path

from roundel_adapters import client

PAGE = Path(__file__).parents[3] / "docs" / "reference" / "clients.md"


def shown(parameter: inspect.Parameter) -> str:
    """Return a default as the page shows it."""
    if parameter.default is parameter.empty:
        return "required"
    if parameter.name == "on_state":
        return "a function that does nothing"
    if parameter.default is dict:
        return "`dict`"
    if parameter.name in ("retry_statuses", "idle_timeout"):
        name = parameter.name.upper()
        assert parameter.default is getattr(client, name)
        return f"`{name}`"
    return f"`{parameter.default!r}`".replace("'", '"')


def test_page_has_each_argument_and_default():
    """The table has the arguments of the signature, in its order."""
    rows = re.findall(r"^\| `(\w+)` \| (.+?) \|", PAGE.read_text(), re.MULTILINE)
    parameters = inspect.signature(client.connect).parameters.values()

    assert [(each.name, shown(each)) for each in parameters] == rows
