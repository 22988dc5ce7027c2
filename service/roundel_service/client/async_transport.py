"""Performs calls with an asynchronous HTTP client, on asyncio and on trio."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import aclosing
from typing import TYPE_CHECKING, TypeVar, cast, final

import anyio

from .call import Call
from .exchange import Answer, Exchange, Loss
from .transport import (
    MAX_RESPONSE,
    Target,
    answer_of,
    async_client,
    outcome_of,
    timeout_after,
)

if TYPE_CHECKING:
    import httpx2

    from roundel_adapters.client import AsyncHttpClient

T = TypeVar("T")


@final
class AsyncTransport:
    """Sends the requests of calls to *target*, and waits between them."""

    def __init__(
        self,
        target: Target,
        *,
        client: AsyncHttpClient | None,
        timeout: float,
        max_retries: int,
        random: Callable[[], float],
    ) -> None:
        self.target = target
        self._timeout, self._max_retries = timeout, max_retries
        self._random = random
        self._is_own = client is None
        # Of either library: the methods used here are the same.
        either = async_client(target.url) if client is None else client
        self._client = cast("httpx2.AsyncClient", either)

    async def aclose(self) -> None:
        """Close the HTTP client, unless it is the caller's."""
        if self._is_own:
            await self._client.aclose()

    async def perform(self, call: Call[T], timeout: float | None) -> T:
        """Return the result of *call*; raises `BadgeClientError` if it failed."""
        exchange = Exchange(
            call=call,
            started_at=anyio.current_time(),
            timeout=self._timeout if timeout is None else timeout,
            max_retries=self._max_retries,
            random=self._random,
        )
        while True:
            limit = exchange.attempt_timeout(anyio.current_time())
            outcome: Answer | Loss = timeout_after(limit)
            with anyio.move_on_after(limit):
                outcome = await self._attempt(call, limit)
            delay = exchange.receive(outcome, now=anyio.current_time())
            if delay is None:
                return exchange.result
            await anyio.sleep(delay)

    async def _attempt(self, call: Call[T], limit: float) -> Answer | Loss:
        headers = self.target.headers(call.headers)
        try:
            request = self._client.build_request(
                call.endpoint.method,
                self.target.url + call.target,
                content=call.content,
                headers=headers,
                timeout=limit,
            )
            response = await self._client.send(
                request, stream=True, auth=None, follow_redirects=False
            )
            try:
                content = bytearray()
                async with aclosing(response.aiter_bytes()) as chunks:
                    async for chunk in chunks:
                        content += chunk
                        if len(content) > MAX_RESPONSE:
                            break
            finally:
                await response.aclose()
        except Exception as error:
            return outcome_of(error)
        return answer_of(response, bytes(content))
