"""Check that each core module is covered, branches too, by its own test file alone.

Run as a program. A module that only other modules' tests reach is not tested: they
would not notice what it does wrong.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

TESTS = Path(__file__).parent
CORE = TESTS.parents[1] / "core" / "roundel"
UNTESTED = {"__init__.py", "_errors.py", "_source_states.py"}  # nothing runs in them


def run(*arguments: str, folder: str) -> bool:
    """Run a module of Python with its own coverage file; print what it says if bad."""
    done = subprocess.run(
        [sys.executable, "-m", *arguments],
        env={**os.environ, "COVERAGE_FILE": f"{folder}/data", "PYTEST_ADDOPTS": ""},
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode:
        print(done.stdout, done.stderr)
    return done.returncode == 0


def is_covered(source: Path) -> bool:
    """Run a module's test file under coverage; tell whether nothing was missed."""
    test = TESTS / f"test_{source.stem.strip('_')}.py"
    with tempfile.TemporaryDirectory() as folder:
        rules = Path(folder) / "rules"
        rules.write_text(
            f"[run]\nbranch = true\ninclude = {source}\n"
            "[report]\nexclude_also =\n    assert_never\n    if TYPE_CHECKING:\n"
        )
        with_rules = f"--rcfile={rules}"
        pytest = ("-m", "pytest", "-q", "-p", "no:cacheprovider", str(test))
        return run("coverage", "run", with_rules, *pytest, folder=folder) and run(
            "coverage", "report", with_rules, "-m", "--fail-under=100", folder=folder
        )


def main() -> int:
    """Check every module; the status is the number of those that fall short."""
    sources = [s for s in sorted(CORE.glob("*.py")) if s.name not in UNTESTED]
    short = 0
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        for source, covered in zip(sources, pool.map(is_covered, sources), strict=True):
            print(f"{source.name}: {'covered' if covered else 'NOT COVERED'}")
            short += not covered
    return short


if __name__ == "__main__":
    sys.exit(main())
