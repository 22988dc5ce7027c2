"""The rows of the scenario table: a framework on a server."""

from __future__ import annotations

import importlib.util
import sys
import traceback
from collections.abc import Mapping
from pathlib import Path

import attrs

from .client import Producer
from .scenarios import SCENARIOS, ServedApp
from .servers import SERVERS, running

Results = Mapping[str, str | Exception]
"""What each scenario has measured, or how it failed."""


@attrs.frozen
class Row:
    """A framework on a server.

    *app* is the application's module in this folder and its name. *lacks* has, for each
    scenario that the server does not allow, the reason.
    """

    framework: str
    server: str
    app: str
    lacks: Mapping[str, str] = attrs.field(factory=dict, kw_only=True)
    needs: tuple[str, ...] = attrs.field(default=(), kw_only=True)
    prefix: str = attrs.field(default="", kw_only=True)

    def __str__(self) -> str:
        return f"{self.framework} on {self.server}"

    def missing(self) -> list[str]:
        """Return the modules that are not installed."""
        arguments = SERVERS[self.server]
        modules = [arguments[0].split(".")[0], *self.needs]
        return [name for name in modules if not _is_installed(name)]

    def run(self, folder: Path) -> Results:
        """Run each scenario against one server process."""
        app = f"support.frameworks.{self.app}"
        with running(SERVERS[self.server], app, folder) as server:
            served = ServedApp(
                server, self.prefix, Producer(server.address, self.prefix)
            )
            # The server may still load the application.
            served.producer.stats()
            results = {
                name: run_scenario(scenario, served)
                for name, scenario in SCENARIOS.items()
                if name not in self.lacks
            }
            served.producer.close()
            if any(isinstance(result, Exception) for result in results.values()):
                print(server.errors.read_text(), file=sys.stderr)
            return results


def _is_installed(name):
    try:
        return importlib.util.find_spec(name) is not None
    except ModuleNotFoundError:
        return False


def run_scenario(scenario, served):
    """Return what *scenario* has measured, or its error with the traceback as note."""
    try:
        return scenario(served)
    except Exception as error:
        error.add_note(traceback.format_exc())
        return error


TRIO_WRITE = {
    "slow reader": "Hypercorn's trio worker does not let a write be cancelled",
}
GUNICORN_FASTAPI = ("fastapi", "uvicorn_worker")

STACKS = [
    Row(
        f"Starlette, {name}",
        server,
        f"starlette_stacks:{app}",
        prefix=prefix,
        needs=("starlette", "itsdangerous", "opentelemetry.instrumentation.asgi"),
    )
    for name, server, app, prefix in [
        ("GZip", "uvicorn", "gzip", ""),
        ("CORS", "uvicorn", "cors", ""),
        ("sessions", "uvicorn", "sessions", ""),
        ("BaseHTTP twice", "uvicorn", "base", ""),
        ("TrustedHost", "uvicorn", "trusted_host", ""),
        ("OpenTelemetry", "uvicorn", "telemetry", ""),
        ("all of them, mounted", "uvicorn", "mounted", "/a/b"),
        # On trio.
        ("all of them, mounted", "roundel", "mounted", "/a/b"),
    ]
]
"""Middleware around a stream; the last rows have all of it."""

ROWS = [
    Row("ASGI", "uvicorn", "asgi_app:app"),
    Row("ASGI", "hypercorn", "asgi_app:app"),
    Row("ASGI", "hypercorn, worker", "asgi_app:app"),
    Row("ASGI", "hypercorn, trio", "asgi_app:app", lacks=TRIO_WRITE),
    Row("ASGI", "granian", "asgi_app:app"),
    Row("ASGI", "gunicorn, uvicorn", "asgi_app:app", needs=("uvicorn_worker",)),
    Row("ASGI", "gunicorn, asgi", "asgi_app:app"),
    Row("ASGI", "roundel", "asgi_app:app"),
    Row("Starlette", "uvicorn", "starlette_app:app", needs=("starlette",)),
    Row("Starlette", "hypercorn, trio", "starlette_app:app", lacks=TRIO_WRITE),
    Row("Starlette", "roundel", "starlette_app:app", needs=("starlette",)),
    Row("FastAPI", "uvicorn", "fastapi_app:app", needs=("fastapi",)),
    Row("FastAPI", "hypercorn, worker", "fastapi_app:app", needs=("fastapi",)),
    Row("FastAPI", "granian", "fastapi_app:app", needs=("fastapi",)),
    Row("FastAPI", "gunicorn, uvicorn", "fastapi_app:app", needs=GUNICORN_FASTAPI),
    Row("Litestar", "uvicorn", "litestar_app:app", needs=("litestar",)),
    Row("Litestar", "granian", "litestar_app:app", needs=("litestar",)),
    Row("aiohttp", "aiohttp", "aiohttp_app:app"),
    Row("aiohttp", "gunicorn, aiohttp", "aiohttp_app:app", needs=("aiohttp",)),
    Row("Django", "uvicorn", "django_app:asgi", needs=("django",)),
    Row("Django", "hypercorn", "django_app:asgi", needs=("django",)),
    Row("Django", "gunicorn, gthread", "django_app:wsgi", needs=("django",)),
    Row(
        "Django",
        "runserver",
        "django_app:wsgi",
        needs=("django",),
        lacks={
            "slow reader": "it does not reveal its socket, in development only",
            "SIGTERM": "it has no handler, in development only",
        },
    ),
    Row("Flask", "gunicorn, gthread", "flask_app:app", needs=("flask",)),
    Row(
        "Flask",
        "waitress",
        "flask_app:app",
        needs=("flask", "waitress"),
        lacks={"slow reader": "it buffers 16 MiB, and cuts a peer after 120 s"},
    ),
    Row(
        "Flask",
        "werkzeug",
        "flask_app:app",
        needs=("flask",),
        lacks={"SIGTERM": "its threads end with the process, in development only"},
    ),
    Row("Quart", "hypercorn", "quart_app:app"),
    Row("Quart", "uvicorn", "quart_app:app"),
    Row("Quart", "granian", "quart_app:app"),
    Row("Quart", "hypercorn, worker", "quart_app:prepared_app"),
    Row("Quart-Trio", "hypercorn, trio", "quart_app:trio_app", lacks=TRIO_WRITE),
    Row("Quart-Trio", "roundel", "quart_app:trio_app"),
    *STACKS,
]
