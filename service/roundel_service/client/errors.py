"""The errors of a call: no response, a problem, or a foreign response."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from http import HTTPStatus
from typing import final

from msgspec import UNSET

from ..http.responses import FieldError, NotifyResponse, ProblemDocument

_PREFIX = "urn:roundel:problem:"


class BadgeClientError(Exception):
    """A call failed; the message names the call and the reason.

    Attributes:
        call: The method and the path of the call, without names of users.
        reason: Why it failed.
        attempts: Number of requests that were sent, repetitions included.
        elapsed: Seconds from the first request to the error.
        may_have_effect: Whether the service may have done the call without a response.
        idempotency_key: The key of a notification or batch: with it, the same call may
            be made again later. Otherwise `None`.
        lines: Of a batch, the results of the lines that were done.
    """

    def __init__(self, call: str, reason: str) -> None:
        super().__init__(call, reason)
        self.call: str = call
        self.reason: str = reason
        self.attempts: int = 1
        self.elapsed: float = 0.0
        self.may_have_effect: bool = False
        self.idempotency_key: str | None = None
        self.lines: Sequence[NotifyResponse | ProblemDocument] = ()

    def __reduce__(
        self,
    ) -> tuple[Callable[..., BadgeClientError], tuple[object, ...]]:
        """Return what `pickle` needs: job queues and process pools copy errors."""
        return _restore, (type(self), self.args, self.__dict__)

    def __str__(self) -> str:
        """Return the call, the reason, and the number of requests if it is above 1."""
        tries = f" ({self.attempts} requests in {self.elapsed:.1f} s)"
        return f"{self.call}: {self.reason}{tries if self.attempts > 1 else ''}"


@final
class ServiceUnreachable(BadgeClientError):  # noqa: N818, named after the condition
    """There was no response: the connection failed, was lost, or timed out.

    The cause of this exception is the error of the HTTP library.
    """


@final
class UnexpectedResponse(BadgeClientError):  # noqa: N818, named after the condition
    """The response is not of Roundel's API: it is of a proxy or of another server.

    A redirect is such a response. The client follows none, so that no credential
    reaches another server.
    """

    def __init__(self, call: str, reason: str, *, status: int, media_type: str) -> None:
        super().__init__(call, reason)
        self.status: int = status
        self.media_type: str = media_type


class ProblemResponse(BadgeClientError):  # noqa: N818, named after the condition
    """The service answered with a problem document (RFC 9457).

    *retry_after* is the ``Retry-After`` of the response in seconds, 0 if it has none.
    """

    def __init__(
        self, call: str, problem: ProblemDocument, *, retry_after: float = 0.0
    ) -> None:
        text = f"{problem.status} {problem_name(problem)}: {problem.detail}"
        super().__init__(call, text)
        self.problem: ProblemDocument = problem
        self.retry_after: float = retry_after

    @property
    def status(self) -> int:
        """The HTTP status."""
        return self.problem.status

    @property
    def name(self) -> str:
        """The end of the problem's type, such as `too-many-requests`."""
        return problem_name(self.problem)

    @property
    def detail(self) -> str:
        """What was wrong this time."""
        return self.problem.detail

    @property
    def errors(self) -> Sequence[FieldError]:
        """The bad fields, each with its path and detail; at most 20."""
        return () if self.problem.errors is UNSET else self.problem.errors


@final
class CredentialsRejected(ProblemResponse):
    """The credential is invalid or revoked (401), or of the wrong role (403)."""


@final
class RequestRejected(ProblemResponse):
    """The request is wrong (400, 413, 422, …); the same request fails again."""


@final
class KeyReused(ProblemResponse):
    """The idempotency key or `op_id` was used for another body within 24 h (409)."""


@final
class RateLimited(ProblemResponse):
    """The caller is above its rate limit (429)."""


@final
class ServiceFailed(ProblemResponse):
    """The service failed (500), or its store or keys are unavailable (503)."""


@final
class PartialFailure(BadgeClientError):  # noqa: N818, named after the condition
    """Recipients or lines were not served; the others took effect.

    Raised only by calls with ``check=True``. `problems` has their problems.
    """

    def __init__(self, call: str, problems: Sequence[ProblemDocument]) -> None:
        first = f"{problem_name(problems[0])}: {problems[0].detail}"
        super().__init__(call, f"{len(problems)} not served; the first: {first}")
        self.problems = problems


_CLASSES: dict[int, type[ProblemResponse]] = {
    HTTPStatus.UNAUTHORIZED: CredentialsRejected,
    HTTPStatus.FORBIDDEN: CredentialsRejected,
    HTTPStatus.CONFLICT: KeyReused,
    HTTPStatus.TOO_MANY_REQUESTS: RateLimited,
}


def problem_error(
    call: str, problem: ProblemDocument, *, retry_after: float
) -> ProblemResponse:
    """Return the error of *problem*; its class follows from the status."""
    is_of_server = problem.status >= HTTPStatus.INTERNAL_SERVER_ERROR
    other = ServiceFailed if is_of_server else RequestRejected
    kind = _CLASSES.get(problem.status, other)
    return kind(call, problem, retry_after=retry_after)


def _restore(
    kind: type[BadgeClientError], args: tuple[object, ...], state: dict[str, object]
) -> BadgeClientError:
    error = kind.__new__(kind, *args)
    error.__dict__.update(state)
    return error


def problem_name(problem: ProblemDocument) -> str:
    """Return the end of the problem's type, such as `too-many-requests`."""
    return problem.type.removeprefix(_PREFIX)
