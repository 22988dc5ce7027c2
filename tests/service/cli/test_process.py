"""What the process asks of its system, in a process of its own."""

from __future__ import annotations

import subprocess
import sys

import pytest

pytestmark = pytest.mark.slow

SCRIPT = """
import gc, resource
from roundel_service.cli.process import prepare
_, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
resource.setrlimit(resource.RLIMIT_NOFILE, (min(64, hard), hard))
prepare()
print(resource.getrlimit(resource.RLIMIT_NOFILE) == (hard, hard), gc.get_threshold()[0])
"""


def test_process_may_open_as_many_files_as_the_system_lets_it():
    """Each stream is an open file, and the usual soft limit is a thousand."""
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT], capture_output=True, text=True, check=True
    )

    assert "True 50000\n" == done.stdout
