"""The clients need one HTTP library, and name the extra without any."""

from __future__ import annotations

import subprocess
import sys

import pytest

from support.extras import import_errors

pytestmark = pytest.mark.slow

READ = """
import sys
sys.modules["{absent}"] = None
import {library}
from roundel_adapters.client import connect_sync

def answer(request):
    head = {{"content-type": "text/event-stream"}}
    return {library}.Response(200, headers=head, text="data: hi\\n\\n")

client = {library}.Client(transport={library}.MockTransport(answer))
with connect_sync(client, "http://x/") as events:
    print(next(events).data)
"""


def test_no_library_names_the_extra():
    """Without httpx2 and httpx the import says what to install."""
    errors = import_errors(["roundel_adapters.client"], "asgi")

    assert {"roundel_adapters.client"} == errors.keys()
    assert "pip install 'roundel[client]'" in errors["roundel_adapters.client"]


@pytest.mark.parametrize(
    ("library", "absent"), [("httpx2", "httpx"), ("httpx", "httpx2")]
)
def test_either_library_is_enough(library, absent):
    """A client reads with httpx2 alone, and with httpx alone."""
    program = READ.format(library=library, absent=absent)
    done = subprocess.run(
        [sys.executable, "-c", program],
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )

    assert ("hi\n", "") == (done.stdout, done.stderr)
