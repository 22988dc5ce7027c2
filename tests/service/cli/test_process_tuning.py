"""Process settings, in a process of their own."""

from __future__ import annotations

import subprocess
import sys

import pytest

pytestmark = pytest.mark.slow

SCRIPT = """
import gc, resource
from roundel_service.cli.process_tuning import prepare_process
_, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
resource.setrlimit(resource.RLIMIT_NOFILE, (min(64, hard), hard))
prepare_process()
print(resource.getrlimit(resource.RLIMIT_NOFILE) == (hard, hard), gc.get_threshold()[0])
"""


def test_open_file_limit_is_raised_to_the_hard_limit():
    """Each stream needs a file descriptor, and the usual soft limit is 1,024."""
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT], capture_output=True, text=True, check=True
    )

    assert "True 10000\n" == done.stdout
