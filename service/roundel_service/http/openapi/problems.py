"""An example of every problem, made by the functions that the service uses."""

from __future__ import annotations

from collections.abc import Mapping
from typing import final

import attrs

from .. import messages, problems
from ..problems import FieldError, Problem


@final
@attrs.frozen
class ProblemExample:
    """A *problem*, and *when* the service returns it."""

    problem: Problem
    when: str


_EXAMPLES = (
    ProblemExample(
        Problem("malformed-body", "Input data was truncated"),
        "The body is not JSON.",
    ),
    ProblemExample(
        Problem(
            "unauthorized", "expected Authorization: Bearer, or the cookie roundel"
        ),
        "The credentials are missing or invalid. An invalid credential is rejected "
        "even if the request has a valid one too.",
    ),
    ProblemExample(
        problems.revoked(),
        "The credential was issued before the user's credentials were revoked. On the "
        "stream this is a 204, after which browsers do not reconnect.",
    ),
    ProblemExample(
        Problem("forbidden", "expected a producer key, got credentials of a user"),
        "The credentials are valid but of the wrong role; or a write by cookie came "
        "from an origin that is neither the service's own nor on the CORS list.",
    ),
    ProblemExample(
        Problem(
            "not-found",
            "The requested URL was not found on the server. If you entered the URL "
            "manually please check your spelling and try again.",
        ),
        "No operation has this path; a slash in a path parameter separates, too.",
    ),
    ProblemExample(
        Problem(
            "method-not-allowed",
            "The method is not allowed for the requested URL.",
            headers={"Allow": "GET, HEAD, OPTIONS"},
        ),
        "The path has no such method; `Allow` lists its methods.",
    ),
    ProblemExample(
        Problem("not-acceptable", "Accept: expected text/event-stream"),
        "`Accept` excludes `text/event-stream`.",
    ),
    ProblemExample(
        messages.body_too_slow(),
        "The body did not arrive in time.",
    ),
    ProblemExample(
        problems.key_reused(),
        "The `Idempotency-Key` was used with another body within 24 h.",
    ),
    ProblemExample(
        Problem("too-large", "the body takes more than 1048576 bytes"),
        "The body takes more than 1 MiB, a line of a batch more than 64 KiB, or an "
        "item more than 8 KiB as JSON; or a `GET` has a body.",
    ),
    ProblemExample(
        Problem("query-too-long", "expected at most 8192 bytes, got 9007"),
        "The query takes more than 8 KiB.",
    ),
    ProblemExample(
        problems.invalid_request(
            FieldError("ttl", "Expected `float` > 0.0"),
            FieldError("titel", "unknown field"),
        ),
        "Fields are invalid, missing or unknown; `errors` names each of them.",
    ),
    ProblemExample(
        problems.too_many_categories(
            "expected at most 64 categories, 'c64' is one more"
        ),
        "The mailbox is at its limit of categories. With several recipients, only the "
        "result of that user has this problem.",
    ),
    ProblemExample(
        problems.too_many_requests(1),
        "The caller is above its rate limit; `Retry-After` has the delay. A stream is "
        "shed instead, and a batch is slowed down.",
    ),
    ProblemExample(
        problems.internal_error(),
        "An internal error, logged with the `X-Request-Id`.",
    ),
    ProblemExample(
        problems.keys_unavailable(),
        "The keys for token verification (`ROUNDEL_JWKS`) are not loaded yet. A stream "
        "is shed instead.",
    ),
    ProblemExample(
        Problem("engine-unavailable", "the store at 127.0.0.1:6379 does not answer"),
        "The engine cannot be reached or accepts no writes. The request may have taken "
        "effect; repeating it is safe with an `Idempotency-Key` or an `op_id`. With "
        "several recipients, each result has its own problem. A stream is shed "
        "instead.",
    ),
)

PROBLEM_EXAMPLES: Mapping[str, ProblemExample] = {
    example.problem.name: example for example in _EXAMPLES
}
"""Every problem, by its name."""
