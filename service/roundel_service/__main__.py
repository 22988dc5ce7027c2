"""The command `roundel`, also as `python -m roundel_service`."""

from __future__ import annotations

import sys
from typing import NoReturn

from .cli.signals import ignore_reload_signal

_EXTRAS = {"glide": "valkey"}
"""The extra that installs a module; `service` installs the others."""


def main() -> None:
    """Run the command line."""
    if sys.argv[1:2] in (["serve"], ["worker"]):
        # First: the imports take 0.4 s, in which SIGHUP would end the process.
        ignore_reload_signal()
    try:
        from .cli.main import main as run  # Without the extra there is no click.

        run(prog_name="roundel")
    except ModuleNotFoundError as error:
        module = (error.name or "").partition(".")[0]
        if module.startswith("roundel"):
            raise
        extra = _EXTRAS.get(module, "service")
        install = f"run pip install 'roundel[{extra}]'"
        _fail(f"the package {module} is missing: {install}")
    except OSError as error:  # Of `--help`, whose output cannot be written.
        _fail(f"{error}")
    except KeyboardInterrupt:  # Before a command runs.
        sys.exit(130)


def _fail(text: str) -> NoReturn:
    # In one write: another thread may be writing the log.
    sys.stderr.write(f"roundel: {text}\n")
    sys.exit(1)


if __name__ == "__main__":
    main()
