"""The response of a batch: one result a line, and the problems among them."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TypeAlias, final

import attrs

from ..http.responses import NotifyResponse, ProblemDocument, UpdateResponse
from ..http.schemas.topic_responses import FollowersResponse
from .errors import BadgeClientError, PartialFailure

BatchLine: TypeAlias = NotifyResponse | ProblemDocument
"""The result of one line: that of `notify()`, or the problem of the whole line."""


@final
@attrs.frozen
class LineProblem:
    """A *problem* of the line with that *number*, from 0, or of one *user* of it."""

    number: int
    user: str | None
    problem: ProblemDocument


@final
@attrs.frozen
class BatchResponse:
    """The results of a batch: `lines` has one for each notification, in order.

    Sending the same batch with the same *idempotency_key* within 24 h repeats only
    what was not done.
    """

    idempotency_key: str
    lines: list[BatchLine] = attrs.field(factory=list)

    @property
    def problems(self) -> list[LineProblem]:
        """The problems of lines and of single recipients, in order."""
        return [
            each
            for number, line in enumerate(self.lines)
            for each in _problems_of(number, line)
        ]

    @contextmanager
    def progress(self) -> Iterator[list[BatchLine]]:
        """Let the block add lines; an error that leaves it says which are done."""
        try:
            yield self.lines
        except BadgeClientError as error:
            error.lines, error.idempotency_key = self.lines, self.idempotency_key
            raise
        except Exception as error:
            # A notification could not be read or encoded.
            key = self.idempotency_key
            done = f"{len(self.lines)} lines of the batch are done"
            error.add_note(f"{done}; send it again with idempotency_key={key!r}")
            raise

    def check(self) -> None:
        """Raise `PartialFailure` if there are problems."""
        if found := [each.problem for each in self.problems]:
            error = PartialFailure("POST /v1/batch", found)
            error.lines, error.idempotency_key = self.lines, self.idempotency_key
            raise error


_PATHS = {
    NotifyResponse: "/v1/notify",
    UpdateResponse: "/v1/update",
    FollowersResponse: "/v1/topics/{topic}/followers",
}


def check_recipients_of(
    response: NotifyResponse | UpdateResponse | FollowersResponse,
) -> None:
    """Raise `PartialFailure` if a recipient of *response* was not served."""
    if found := [each.problem for each in response.problems]:
        raise PartialFailure(f"POST {_PATHS[type(response)]}", found)


def _problems_of(number: int, line: BatchLine) -> list[LineProblem]:
    if isinstance(line, ProblemDocument):
        return [LineProblem(number, None, line)]
    return [LineProblem(number, each.user, each.problem) for each in line.problems]
