"""Process settings, in a process of their own."""

from __future__ import annotations

import signal
import subprocess
import sys

import pytest

from support.process import SLACK, environment, started

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


WARN = """
import resource, sys
from roundel_service.cli.process_tuning import warn_of_few_files
resource.setrlimit(resource.RLIMIT_NOFILE, (1_000, 1_000))
warn_of_few_files(int(sys.argv[1]))
"""


@pytest.mark.parametrize(("streams", "count"), [(872, 0), (873, 1)])
def test_too_few_files_are_one_warning(streams, count):
    """The line has the numbers, and names what to change."""
    done = subprocess.run(
        [sys.executable, "-c", WARN, str(streams)],
        capture_output=True,
        text=True,
        check=True,
    )
    lines = done.stdout.splitlines()

    assert count == len(lines)
    for line in lines:
        assert "allow 872 streams, fewer than ROUNDEL_MAX_STREAMS=873" in line
        assert "allow 1001 files (ulimit -n, or LimitNOFILE= of systemd)" in line


def test_service_with_enough_files_logs_nothing(tmp_path):
    """The operator's listener has no line of its own either."""
    limits = {"ROUNDEL_MAX_STREAMS": "100", "ROUNDEL_OPS_BIND": f"unix:{tmp_path}/ops"}
    arguments = ("serve", "--bind", "127.0.0.1:0")
    with started(*arguments, env=environment(**limits)) as (process, _):
        process.send_signal(signal.SIGTERM)
        _, log = process.communicate(timeout=SLACK)

    assert log == ""
