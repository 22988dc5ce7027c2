"""The types of the HTTP clients that callers pass.

They name no library: where httpx is absent, a type checker does not know the union of
`httpx2.AsyncClient` and `httpx.AsyncClient`, and reports each use of it.
"""

from __future__ import annotations

from typing import Protocol


class HttpClient(Protocol):
    """A `Client` of httpx2 or httpx."""

    @property
    def base_url(self) -> object:
        """The URL to which paths are relative."""
        ...

    @property
    def is_closed(self) -> bool:
        """Whether `close()` was called."""
        ...

    def close(self) -> None:
        """Close its connections."""


class AsyncHttpClient(Protocol):
    """An `AsyncClient` of httpx2 or httpx."""

    @property
    def base_url(self) -> object:
        """The URL to which paths are relative."""
        ...

    @property
    def is_closed(self) -> bool:
        """Whether `aclose()` was called."""
        ...

    async def aclose(self) -> None:
        """Close its connections."""
