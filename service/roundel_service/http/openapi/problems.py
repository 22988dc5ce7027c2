"""Every problem that a call may be answered with, as one that was really told."""

from __future__ import annotations

from collections.abc import Mapping
from typing import final

import attrs

from .. import messages as http
from .. import problems
from ..problems import FieldError, Problem


@final
@attrs.frozen
class ProblemExample:
    """A *problem* that was told, and *when* it is."""

    problem: Problem
    when: str


_EVERY = (
    ProblemExample(
        problems.malformed_body(
            "Input data was truncated",
        ),
        "The body is not JSON.",
    ),
    ProblemExample(
        problems.unauthorized("expected Authorization: Bearer, or the cookie roundel"),
        "No proof of identity came, or one that is not good. A bad proof is never made "
        "up for by a good one beside it.",
    ),
    ProblemExample(
        problems.revoked(),
        "The proof was issued before the user's proofs were revoked. On the stream "
        "this is 204, which tells a browser never to come back.",
    ),
    ProblemExample(
        problems.forbidden("expected a producer key, got credentials of a user"),
        "The proof is good and of the wrong role; or a write came by cookie from a "
        "page that is neither the service's own nor on the CORS list.",
    ),
    ProblemExample(
        Problem(
            status=404,
            name="not-found",
            title="Not Found",
            detail="The requested URL was not found on the server. If you entered the "
            "URL manually please check your spelling and try again.",
        ),
        "No call has this path; a slash in a path's part is one as well.",
    ),
    ProblemExample(
        Problem(
            status=405,
            name="method-not-allowed",
            title="Method Not Allowed",
            detail="The method is not allowed for the requested URL.",
            headers={"Allow": "GET, HEAD, OPTIONS"},
        ),
        "The path is a call's, the method is not; `Allow` names those that are.",
    ),
    ProblemExample(
        problems.not_acceptable("Accept: expected text/event-stream in it"),
        "`Accept` excludes `text/event-stream`.",
    ),
    ProblemExample(
        http.body_too_slow(),
        "The body did not come in time.",
    ),
    ProblemExample(
        problems.key_reused(),
        "The `Idempotency-Key` came with another body within 24 h.",
    ),
    ProblemExample(
        problems.too_large("the body takes more than 1048576 bytes"),
        "The body takes more than 1 MiB, a line of a batch more than 64 KiB, or an "
        "item more than 8 KiB as JSON; or a body came where none is read.",
    ),
    ProblemExample(
        Problem(
            status=414,
            name="query-too-long",
            title="The query is too long",
            detail="expected at most 8192 bytes, got 9007",
        ),
        "The query takes more than 8 KiB.",
    ),
    ProblemExample(
        problems.invalid_request(
            FieldError("ttl", "Expected `float` > 0.0"),
            FieldError("titel", "unknown field"),
        ),
        "Fields are wrong, missing or unknown; every one of them is named.",
    ),
    ProblemExample(
        problems.too_many_categories(
            "expected at most 64 categories, 'c64' is one more"
        ),
        "A mailbox has no room for another category. Where several are notified, only "
        "the result of that user says so.",
    ),
    ProblemExample(
        problems.too_many_requests(1),
        "The caller asks too often; `Retry-After` says when to try again. A stream is "
        "shed instead, and a batch is held back.",
    ),
    ProblemExample(
        problems.internal_error(),
        "A fault of the service, which it logged with the `X-Request-Id`.",
    ),
    ProblemExample(
        problems.keys_unavailable(),
        "The keys that tokens are verified with (`ROUNDEL_JWKS`) could not be read "
        "yet. A stream is shed instead.",
    ),
    ProblemExample(
        problems.engine_unavailable("the store at 127.0.0.1:6379 does not answer"),
        "Where mailboxes are kept cannot be reached or takes nothing now, and what was "
        "asked for may have been done or not: to repeat it is safe with an "
        "`Idempotency-Key` or an `op_id`. Where several are notified, each result says "
        "it for itself. A stream is shed instead.",
    ),
)

PROBLEM_EXAMPLES: Mapping[str, ProblemExample] = {
    failure.problem.name: failure for failure in _EVERY
}
"""Every problem, by its name."""
