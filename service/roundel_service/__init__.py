"""The badge backend: every user's badge and notifications, right and live.

PYTEST_DONT_REWRITE: the pytest plugin is loaded also after a program has imported this.
"""
