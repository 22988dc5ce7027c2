"""The reference of the adapters names what they have."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

from roundel_adapters import topics

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "reference" / "adapters.md").read_text()
MODULES = [
    "aiohttp", "asgi", "drain", "driver", "live_stream", "quart", "quart_trio",
    "wakeup",
]  # fmt: skip
INTERNAL = {"quart.EventStreamBody", "quart.send_stream"}
"""Names that only other modules of the package use."""


@pytest.mark.parametrize("module", MODULES)
def test_public_functions_and_classes_are_documented(module):
    """Each public function and class of an adapter is on the reference page."""
    source = (ROOT / "adapters" / "roundel_adapters" / f"{module}.py").read_text()
    names = {
        f"{module}.{node.name}"
        for node in ast.parse(source).body
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef)
        and not node.name.startswith("_")
    }

    for name in names - INTERNAL:
        assert f":: roundel_adapters.{name}\n" in PAGE, name


def test_names_of_topics_are_documented():
    """Each exported name of `roundel_adapters.topics` is on the reference page."""
    for name in topics.__all__:
        assert f":: roundel_adapters.topics.{name}\n" in PAGE, name
