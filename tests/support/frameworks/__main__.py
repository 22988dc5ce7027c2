"""Prints the scenario table as Markdown, with measured values.

    PYTHONPATH=core:adapters:tests python -m support.frameworks [WORD ...]

Each word selects the rows whose name contains it; without words all rows run.
"""

from __future__ import annotations

import importlib.metadata as metadata
import platform
import sys
import tempfile
from pathlib import Path

from .rows import ROWS
from .scenarios import SCENARIOS

NAMES = [
    *("starlette", "fastapi", "litestar", "Django", "Flask", "aiohttp", "Quart"),
    *("quart-trio", "uvicorn", "Hypercorn", "granian", "gunicorn", "uvicorn-worker"),
    *("opentelemetry-instrumentation-asgi", "anyio", "trio", "uvloop"),
]
"""Distributions whose versions are printed."""


def main(words: list[str]) -> int:
    """Print the rows as they are done; return how many scenarios failed."""
    columns = ["framework", "server", *SCENARIOS]
    print("|", " | ".join(columns), "|")
    print("|", " | ".join("---" for _ in columns), "|")
    failures = []
    for row in ROWS:
        if words and not any(word.lower() in str(row).lower() for word in words):
            continue
        if missing := row.missing():
            failures.append(f"{row}: not installed: {', '.join(missing)}")
            continue
        with tempfile.TemporaryDirectory() as folder:
            results = row.run(Path(folder))
        cells = [_cell(results.get(name, "no")) for name in SCENARIOS]
        print("|", " | ".join([row.framework, row.server, *cells]), "|", flush=True)
        failures += [
            f"{row}, {name}: {result!r}"
            for name, result in results.items()
            if isinstance(result, Exception)
        ]
    print(f"\nPython {platform.python_version()}, {', '.join(versions())}.")
    print(*failures, sep="\n", file=sys.stderr)
    return len(failures)


def versions() -> list[str]:
    """Return the installed frameworks and servers with their versions."""
    installed = {dist.name: dist.version for dist in metadata.distributions()}
    return [f"{name} {installed[name]}" for name in NAMES if name in installed]


def _cell(result: object) -> str:
    return "FAILED" if isinstance(result, Exception) else str(result)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
