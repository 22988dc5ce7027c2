"""Decides what follows each attempt of a call: its result, an error, or a delay.

No I/O, no clock and no randomness: both clients do what an `Exchange` says, and tests
run it with made-up time. The rules of a repetition:

- A request that was never sent is sent again: the connection was refused, or the
  service is at its rate limit (429). An unknown host or a wrong certificate is final.
- A request that may have had its effect is sent again only if a second one has no
  second effect: after a lost connection, a timeout, 502, 503 and 504.
- A result with problems of the store is repeated, with its idempotency key: what has
  been done is not done again.

The delay has exponential back-off with full jitter, so that callers that failed
together do not come back together. It is added to ``Retry-After``.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from http import HTTPStatus
from typing import Final, Generic, TypeVar, final

import attrs
import msgspec

from roundel import retry_after

from ..http.responses import PROBLEM_MEDIA_TYPE, ProblemDocument
from .call import IDEMPOTENCY_KEY, Call
from .errors import (
    BadgeClientError,
    ServiceUnreachable,
    UnexpectedResponse,
    problem_error,
)

T = TypeVar("T")

TIMEOUT: Final = 30.0
"""Default time for a call with all repetitions, in seconds."""

ATTEMPT_TIMEOUT: Final = 10.0
"""Longest time for one request, in seconds, after which it is lost."""

MAX_RETRIES: Final = 10
"""Default number of repetitions of a call."""

MIN_BACKOFF: Final = 0.2
"""Longest first delay in seconds; each further one is twice as long."""

MAX_BACKOFF: Final = 5.0
"""Longest delay in seconds, apart from ``Retry-After``."""

_RETRIED = frozenset({429, 502, 503, 504})
_NOT_STARTED = 429
# A delay may end late; sockets take no timeout below 0.
_MIN_TIMEOUT = 0.001
_MAX_LOCATION = 200


@final
@attrs.frozen
class Answer:
    """A complete response: its status, its header fields and its body."""

    status: int
    headers: Sequence[tuple[str, str]]
    content: bytes

    @property
    def media_type(self) -> str:
        """The media type in lower case, without parameters."""
        return self.header("content-type").partition(";")[0].strip().lower()

    def header(self, name: str) -> str:
        """Return the value of a header field, by its name in lower case."""
        found = (value for field, value in self.headers if field.lower() == name)
        return next(found, "")


@final
@attrs.frozen
class Loss:
    """A request without a response, for a *reason*, by an *error* of the HTTP library.

    *was_sent* is whether the service may have received it. *is_final* is whether
    another attempt cannot help.
    """

    reason: str
    error: Exception
    was_sent: bool
    is_final: bool


@final
@attrs.define(kw_only=True, eq=False)
class Exchange(Generic[T]):
    """One call over any number of attempts; *now* is in seconds of any clock.

    After each attempt give its outcome to `receive()`. When that returns `None`,
    `result` has the result of the call.
    """

    call: Call[T]
    started_at: float
    timeout: float
    max_retries: int
    random: Callable[[], float]
    attempts: int = 0
    may_have_effect: bool = False
    _result: T | None = None

    @property
    def result(self) -> T:
        """The result of the call, once `receive()` has returned `None`."""
        assert self._result is not None
        return self._result

    def attempt_timeout(self, now: float) -> float:
        """Return the seconds that the next request may take."""
        remaining = max(self._deadline - now, _MIN_TIMEOUT)
        return min(ATTEMPT_TIMEOUT + self.call.wait, remaining)

    def receive(self, outcome: Answer | Loss, *, now: float) -> float | None:
        """Return the delay before the next attempt, or `None` at the end of the call.

        Raises `BadgeClientError` if the call has failed.
        """
        self.attempts += 1
        if isinstance(outcome, Loss):
            return self._receive_loss(outcome, now)
        if outcome.status == HTTPStatus.NOT_MODIFIED and self.call.known is not None:
            self._result = self.call.known
            return None
        if outcome.status == HTTPStatus.OK and self._is_expected(outcome):
            return self._receive_result(outcome, now)
        return self._receive_failure(outcome, now)

    def _receive_loss(self, loss: Loss, now: float) -> float:
        self.may_have_effect |= loss.was_sent
        error = ServiceUnreachable(self.call.name, loss.reason)
        error.__cause__ = loss.error
        may_repeat = self.call.may_repeat or not loss.was_sent
        return self._delay(error, now, may_repeat=may_repeat and not loss.is_final)

    def _receive_result(self, answer: Answer, now: float) -> float | None:
        try:
            self._result = self.call.decode(answer.content)
        except (msgspec.MsgspecError, ValueError, RecursionError) as error:
            self.may_have_effect = True
            raise self._finish(self._unexpected(answer, str(error)), now) from None
        if not self.call.is_transient(self._result):
            return None
        return self._next_delay(now)

    def _receive_failure(self, answer: Answer, now: float) -> float:
        wait = retry_after(answer.headers)
        self.may_have_effect |= answer.status >= HTTPStatus.INTERNAL_SERVER_ERROR
        problem = _problem_in(answer)
        error: BadgeClientError
        if problem is None:
            error = self._unexpected(answer, "")
        else:
            error = problem_error(self.call.name, problem, retry_after=wait)
        may_repeat = self.call.may_repeat or answer.status == _NOT_STARTED
        may_repeat = may_repeat and answer.status in _RETRIED
        return self._delay(error, now, may_repeat=may_repeat, at_least=wait)

    def _delay(
        self,
        error: BadgeClientError,
        now: float,
        *,
        may_repeat: bool,
        at_least: float = 0.0,
    ) -> float:
        """Return the delay before the next attempt, or raise *error*."""
        delay = self._next_delay(now, at_least) if may_repeat else None
        if delay is None:
            raise self._finish(error, now)
        return delay

    def _next_delay(self, now: float, at_least: float = 0.0) -> float | None:
        """Return the delay before the next attempt, `None` if there is none."""
        retries = self.attempts - 1
        longest = min(MIN_BACKOFF * 2.0**retries, MAX_BACKOFF)
        delay = at_least + self.random() * longest
        is_last = retries >= self.max_retries or now + delay >= self._deadline
        return None if is_last else delay

    @property
    def _deadline(self) -> float:
        return self.started_at + self.timeout + self.call.wait

    def _finish(self, error: BadgeClientError, now: float) -> BadgeClientError:
        error.attempts, error.elapsed = self.attempts, now - self.started_at
        error.may_have_effect = self.may_have_effect
        error.idempotency_key = self.call.headers.get(IDEMPOTENCY_KEY)
        return error

    def _is_expected(self, answer: Answer) -> bool:
        return answer.media_type == self.call.endpoint.media_type

    def _unexpected(self, answer: Answer, detail: str) -> UnexpectedResponse:
        kind = answer.media_type or "no content"
        reason = detail or "it is not a Roundel service, or a proxy answered for it"
        if 300 <= answer.status < 400 and (to := answer.header("location")):
            reason += f"; it redirects to {to[:_MAX_LOCATION]}"
        text = f"{answer.status} with {kind}: {reason}"
        return UnexpectedResponse(
            self.call.name, text, status=answer.status, media_type=answer.media_type
        )


def _problem_in(answer: Answer) -> ProblemDocument | None:
    if answer.media_type != PROBLEM_MEDIA_TYPE:
        return None
    try:
        return msgspec.json.decode(answer.content, type=ProblemDocument)
    except (msgspec.MsgspecError, RecursionError):
        return None
