"""What the clients need: the extra `client`, and nothing of a server."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest

SERVER_ONLY = {
    *("trio", "quart", "hypercorn", "werkzeug", "httptools", "h11", "structlog"),
    *("prometheus_client", "joserfc", "click", "sqlite3", "glide"),
}


def run(program):
    return subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, timeout=60,
        check=False,
    )  # fmt: skip


@pytest.mark.slow
def test_import_loads_nothing_of_a_server():
    """A producer needs neither the server nor its dependencies."""
    done = run(
        "import sys, json; before = {*sys.modules}; import roundel_service.client;"
        # A measurement of coverage loads modules of its own.
        "print(json.dumps([*{*sys.modules} - before]))"
    )
    loaded = {name.partition(".")[0] for name in json.loads(done.stdout)}

    assert set() == loaded & SERVER_ONLY


@pytest.mark.slow
@pytest.mark.parametrize("absent", ["msgspec", "anyio"])
def test_absent_package_is_named_with_its_extra(absent):
    """Without the extra the error says how to install it."""
    done = run(
        f"import sys; sys.modules[{absent!r}] = None; import roundel_service.client"
    )
    last = done.stderr.splitlines()[-1]

    assert last.startswith("ModuleNotFoundError: ")
    assert "pip install 'roundel[client]'" in last


@pytest.mark.slow
@pytest.mark.parametrize("absent", ["httpx2", "httpx", "both"])
def test_either_http_library_is_enough(absent):
    """One of httpx2 and httpx has to be installed."""
    names = ["httpx2", "httpx"] if absent == "both" else [absent]
    done = run(
        f"import sys; sys.modules.update(dict.fromkeys({names})); "
        "from roundel_service.client import BadgeClient; "
        "BadgeClient('http://127.0.0.1:9', key='k').close()"
    )

    if absent == "both":
        assert "pip install 'roundel[client]'" in done.stderr.splitlines()[-1]
    else:
        assert "" == done.stderr
