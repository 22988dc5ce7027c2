"""The claim `topics` of a token: what the user follows, and since when."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from ..domain.names import TOPIC_NAME
from ..domain.revocation import MAX_TIME
from .errors import InvalidCredentials
from .jwk_set import Claims

MAX_TOPICS = 64
"""Default maximum number of topics in a token."""

_is_topic = re.compile(TOPIC_NAME).fullmatch


def read_topics(claims: Claims, *, limit: int) -> Mapping[str, float] | None:
    """Return the times of the topics in *claims* by name, `None` without the claim.

    A user pulls the items created at that time or later, in seconds since 1970; with 0
    all. Raises `InvalidCredentials` for more than *limit* topics and for other values.
    """
    claim: Any = claims.get("topics")
    if claim is None:
        return None
    if not isinstance(claim, dict | list):
        raise InvalidCredentials("the token's topics are no object and no list")
    if len(claim) > limit:
        raise InvalidCredentials(
            f"the token's topics are {len(claim)}, expected at most {limit}"
        )
    if not all(isinstance(name, str) and _is_topic(name) for name in claim):
        raise InvalidCredentials("the token's topics have a name that is no topic")
    times = claim if isinstance(claim, dict) else dict.fromkeys(claim, 0)
    if not all(map(_is_time, times.values())):
        raise InvalidCredentials(
            "the token's topics have a value that is no time in seconds since 1970"
        )
    if "iat" not in claims:
        # Of two tokens the later one counts.
        raise InvalidCredentials("the token has topics, so it needs an iat")
    return times


def _is_time(value: object) -> bool:
    # A bool is an int. The comparison is false for NaN.
    return type(value) in (int, float) and 0 <= value < MAX_TIME  # type: ignore[operator]
