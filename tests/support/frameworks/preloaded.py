"""The settings of gunicorn for an application that it loads before it forks."""

from __future__ import annotations

from . import shared

preload_app = True


def post_worker_init(_worker):
    shared.topics.drain.handle_signals()
