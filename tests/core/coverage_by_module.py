"""Check that each core module is covered, branches too, by its own test file alone.

Run as a program. A module that only other modules' tests reach is not tested: they
would not notice what it does wrong.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from pathlib import Path

TESTS = Path(__file__).parent
CORE = TESTS.parents[1] / "core" / "roundel"


def modules() -> list[str]:
    """Return the names of the modules that have something to run."""
    names = {path.stem.strip("_") for path in CORE.glob("*.py")}
    return sorted(names - {"init", "errors"})


def is_covered(name: str) -> bool:
    """Run a module's test file under coverage; tell whether nothing was missed."""
    source = next(path for path in CORE.glob("*.py") if path.stem.strip("_") == name)
    with tempfile.TemporaryDirectory() as folder:
        environment = {**os.environ, "COVERAGE_FILE": f"{folder}/data"}
        coverage = [sys.executable, "-m", "coverage"]
        pytest = ["-m", "pytest", "-q", "-p", "no:cacheprovider"]
        test = str(TESTS / f"test_{name}.py")
        run = [*coverage, "run", "--branch", f"--include={source}", *pytest, test]
        subprocess.run(run, env=environment, check=True, stdout=subprocess.DEVNULL)
        subprocess.run([*coverage, "combine", "-q"], env=environment, check=False)
        report = [*coverage, "report", "--fail-under=100", "--show-missing"]
        return subprocess.run(report, env=environment, check=False).returncode == 0


def main() -> int:
    """Check every module; the status is the number of those that fall short."""
    short = [name for name in modules() if not is_covered(name)]
    for name in short:
        print(f"{name}: not covered by its own test file")
    return len(short)


if __name__ == "__main__":
    sys.exit(main())
