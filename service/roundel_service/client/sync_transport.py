"""Performs calls with a synchronous HTTP client."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, TypeVar, cast, final

from .call import Call
from .exchange import Answer, Exchange, Loss
from .transport import (
    MAX_RESPONSE,
    Target,
    answer_of,
    outcome_of,
    sync_client,
    timeout_after,
)

if TYPE_CHECKING:
    import httpx2

    from roundel_adapters.client import HttpClient

T = TypeVar("T")


@final
class SyncTransport:
    """Sends the requests of calls to *target*, and waits between them."""

    def __init__(
        self,
        target: Target,
        *,
        client: HttpClient | None,
        timeout: float,
        max_retries: int,
        clock: Callable[[], float],
        sleep: Callable[[float], object],
        random: Callable[[], float],
    ) -> None:
        self.target = target
        self._timeout, self._max_retries = timeout, max_retries
        self._clock, self._sleep, self._random = clock, sleep, random
        self._is_own = client is None
        # Of either library: the methods used here are the same.
        either = sync_client(target.url) if client is None else client
        self._client = cast("httpx2.Client", either)

    def close(self) -> None:
        """Close the HTTP client, unless it is the caller's."""
        if self._is_own:
            self._client.close()

    def perform(self, call: Call[T], timeout: float | None) -> T:
        """Return the result of *call*; raises `BadgeClientError` if it failed."""
        exchange = Exchange(
            call=call,
            started_at=self._clock(),
            timeout=self._timeout if timeout is None else timeout,
            max_retries=self._max_retries,
            random=self._random,
        )
        while True:
            limit = exchange.attempt_timeout(self._clock())
            outcome = self._attempt(call, limit)
            delay = exchange.receive(outcome, now=self._clock())
            if delay is None:
                return exchange.result
            self._sleep(delay)

    def _attempt(self, call: Call[T], limit: float) -> Answer | Loss:
        headers = self.target.headers(call.headers)
        end = self._clock() + limit
        try:
            request = self._client.build_request(
                call.endpoint.method,
                self.target.url + call.target,
                content=call.content,
                headers=headers,
                timeout=limit,
            )
            response = self._client.send(
                request, stream=True, auth=None, follow_redirects=False
            )
            try:
                content = bytearray()
                for chunk in response.iter_bytes():
                    content += chunk
                    # The timeout of the HTTP library is for each chunk.
                    if self._clock() > end:
                        return timeout_after(limit)
                    if len(content) > MAX_RESPONSE:
                        break
            finally:
                response.close()
        except Exception as error:
            return outcome_of(error)
        return answer_of(response, bytes(content))
