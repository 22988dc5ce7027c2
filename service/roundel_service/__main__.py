"""`python -m roundel_service` is the command `roundel`."""

from __future__ import annotations

from .cli.main import main

main()
