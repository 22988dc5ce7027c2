"""Requests and responses that the clients of ASGI and WSGI share."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from http.cookies import SimpleCookie
from typing import TypeAlias, final

RequestHeaders: TypeAlias = Mapping[str, str | list[str]]
"""Headers of a request; a header with a list is sent once for each value."""

HOST = "roundel.test"
"""The default host of requests."""


@final
class ResponseHeaders(Mapping[str, str]):
    """The headers of a response, by name in any case.

    The values of a repeated header are joined by a comma (RFC 9110 5.3); `getlist()`
    returns each. Iteration yields the names in lower case.
    """

    def __init__(self, fields: Iterable[tuple[str, str]] = ()) -> None:
        self.fields: tuple[tuple[str, str], ...] = tuple(
            (name.lower(), value) for name, value in fields
        )
        """Each field as it was sent, with its name in lower case."""

    def __getitem__(self, name: str) -> str:
        values = self.getlist(name)
        if not values:
            raise KeyError(name)
        return ", ".join(values)

    def __iter__(self) -> Iterator[str]:
        return iter(dict(self.fields))

    def __len__(self) -> int:
        return len(dict(self.fields))

    def __repr__(self) -> str:
        return f"ResponseHeaders({list(self.fields)})"

    def getlist(self, name: str) -> list[str]:
        """Return the values of all fields with this *name*."""
        return [value for each, value in self.fields if each == name.lower()]

    @property
    def cookies(self) -> dict[str, str]:
        """The cookies that the response sets, by name, without their attributes."""
        cookies = SimpleCookie()
        for value in self.getlist("set-cookie"):
            cookies.load(value)
        return {name: morsel.value for name, morsel in cookies.items()}


def request_fields(*headers: RequestHeaders | None) -> list[tuple[str, str]]:
    """Return the fields of a request; later *headers* replace earlier ones."""
    merged: dict[str, str | list[str]] = {"host": HOST}
    for each in headers:
        merged |= {name.lower(): value for name, value in (each or {}).items()}
    return [
        (name, value)
        for name, values in merged.items()
        for value in ([values] if isinstance(values, str) else values)
    ]
