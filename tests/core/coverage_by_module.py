"""Check that each core module's own test file covers it, branches included.

Run as a program. The tests of other modules reach a module, but do not check it.
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
UNTESTED = {"__init__.py", "_errors.py", "_source_states.py"}  # only definitions


def run(*arguments: str, folder: str) -> bool:
    """Run a Python module with its own coverage file; print its output if it fails."""
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
    """Run a module's test file under coverage; return whether it covers everything."""
    test = TESTS / f"test_{source.stem.strip('_')}.py"
    with tempfile.TemporaryDirectory() as folder:
        config = Path(folder) / "config"
        config.write_text(
            f"[run]\nbranch = true\ninclude = {source}\n"
            "[report]\nexclude_also =\n    assert_never\n    if TYPE_CHECKING:\n"
        )
        with_config = f"--rcfile={config}"
        pytest = ("-m", "pytest", "-q", "-p", "no:cacheprovider", str(test))
        return run("coverage", "run", with_config, *pytest, folder=folder) and run(
            "coverage", "report", with_config, "-m", "--fail-under=100", folder=folder
        )


def main() -> int:
    """Check every module; return the number of modules that are not covered."""
    sources = [s for s in sorted(CORE.glob("*.py")) if s.name not in UNTESTED]
    failed = 0
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        for source, covered in zip(sources, pool.map(is_covered, sources), strict=True):
            print(f"{source.name}: {'covered' if covered else 'NOT COVERED'}")
            failed += not covered
    return failed


if __name__ == "__main__":
    sys.exit(main())
