"""The test clients need only their extra, and name it if it is absent."""

from __future__ import annotations

import subprocess
import sys

import pytest


def run(program: str) -> str:
    """Run *program* in an interpreter without anyio; return its last line."""
    blocked = "import sys; sys.modules['anyio'] = None\n"
    done = subprocess.run(
        [sys.executable, "-c", blocked + program],
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    return (done.stdout + done.stderr).strip().splitlines()[-1]


def test_wsgi_client_needs_only_the_core():
    """The WSGI client is imported without anyio."""
    program = "from roundel_adapters.testing import WsgiClient; print('imported')"

    assert "imported" == run(program)


def test_asgi_client_names_its_extra():
    """Without anyio the import of the ASGI client says what to install."""
    last_line = run("from roundel_adapters.testing import AsgiClient")

    assert "ModuleNotFoundError" in last_line
    assert "pip install 'roundel[asgi]'" in last_line


def test_unknown_name():
    """A name that does not exist is an ordinary error."""
    with pytest.raises(ImportError, match="AsgiClint"):
        from roundel_adapters.testing import AsgiClint  # noqa: F401
