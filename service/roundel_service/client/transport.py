"""What both clients share: URL and credential, the HTTP library, and its errors.

httpx2 and httpx have the same classes and methods, so one code serves both.
"""

from __future__ import annotations

import importlib
import re
from collections.abc import Callable, Mapping
from email.utils import formatdate
from functools import cache
from typing import TYPE_CHECKING, Final, Literal, TypeAlias, cast, final
from urllib.parse import urlsplit

import attrs

from roundel_adapters import requires_extra
from roundel_adapters.client.errors import describe, is_loss, rejected_response

from ..addresses import is_loopback
from .exchange import Answer, Loss

if TYPE_CHECKING:
    import httpx2

Credential: TypeAlias = str | Callable[[], str]
"""A key or a token, or a function that returns it for each request."""

ItemState: TypeAlias = Literal[
    "unread", "active", "archived", "all", "snoozed", "scheduled"
]
"""Which items `items()` returns; `active` items are not archived.

Only a producer may read the state ``scheduled``.
"""

MAX_RESPONSE: Final = 1 << 26
"""Longest response body in bytes; the results of a batch take at most a quarter."""

_VISIBLE = re.compile(r"[\x21-\x7e]+")
# Errors before the request was sent.
_NOT_SENT = {"ConnectError", "ConnectTimeout", "PoolTimeout", "UnsupportedProtocol"}
_LIBRARIES = ("httpx2", "httpx")


@final
@attrs.frozen(repr=False)
class Target:
    """The base *url* of the service, and the caller's *credential* of a *role*."""

    url: str
    role: str
    credential: Credential

    def __repr__(self) -> str:
        """Return the URL and the role, without the credential."""
        return f"{self.url!r}, {self.role}=…"

    def headers(self, given: Mapping[str, str]) -> dict[str, str]:
        """Return the headers of a request, with the credential of this moment."""
        credential = self.credential
        text = credential if isinstance(credential, str) else credential()
        bearer = _check_credential(self.role, text)
        return {**given, "Authorization": f"Bearer {bearer}"}


def target_of(url: str, key: Credential | None, token: Credential | None) -> Target:
    """Return the target of a client; raises `ValueError` for a bad argument.

    No message has the credential, or a password in *url*.
    """
    if (key is None) == (token is None):
        raise ValueError("expected either key or token")
    role, credential = ("key", key) if key is not None else ("token", token)
    if isinstance(credential, str):
        _check_credential(role, credential)
    return Target(_check_url(url), role, cast("Credential", credential))


def _check_url(url: str) -> str:
    try:
        parts = urlsplit(url)
        is_valid = parts.scheme in ("http", "https") and bool(parts.hostname)
        is_valid = is_valid and parts.username is None and parts.port != 0
    except ValueError:
        is_valid = False
    is_valid = is_valid and url.isprintable() and " " not in url
    if not is_valid or parts.query or parts.fragment:
        raise ValueError("expected a URL like http://127.0.0.1:8080, without a user")
    return url.rstrip("/")


def _check_credential(role: str, text: str) -> str:
    # As the service does with its settings: files end with a line end.
    text = text.removesuffix("\n").removesuffix("\r")
    if not _VISIBLE.fullmatch(text):
        raise ValueError(f"{role}: expected visible ASCII characters")
    return text


@cache
def http_library() -> str:
    """Return the name of the installed HTTP library; raises `ImportError` for none."""
    for name in _LIBRARIES:
        try:
            importlib.import_module(name)
        except ModuleNotFoundError:
            continue
        return name
    with requires_extra("client"):
        raise ModuleNotFoundError(name=_LIBRARIES[0])


def sync_client(url: str) -> httpx2.Client:
    """Return a new client for *url*, without the environment's proxy for loopback."""
    library = importlib.import_module(http_library())
    return cast("httpx2.Client", library.Client(trust_env=not is_local(url)))


def async_client(url: str) -> httpx2.AsyncClient:
    """Return a new client for *url*, without the environment's proxy for loopback."""
    library = importlib.import_module(http_library())
    return cast("httpx2.AsyncClient", library.AsyncClient(trust_env=not is_local(url)))


def is_local(url: str) -> bool:
    """Return whether *url* is on this machine, where no proxy may be used."""
    return is_loopback(urlsplit(url).hostname or "")


def answer_of(response: httpx2.Response, content: bytes) -> Answer:
    """Return what the calls need of *response* and its *content*."""
    headers = response.headers.multi_items()
    if "date" not in response.headers:
        # RFC 9110 6.6.1: a recipient with a clock adds it; `Retry-After` may need it.
        headers.append(("Date", formatdate(usegmt=True)))
    return Answer(response.status_code, headers, content)


def outcome_of(error: Exception) -> Answer | Loss:
    """Return what *error* of the HTTP library means; raises any other error.

    A hook of the caller's client may raise an error for a response.
    """
    if (response := rejected_response(error)) is not None:
        return answer_of(response, _content_of(response))
    names = {
        base.__name__
        for base in type(error).__mro__
        if base.__module__.partition(".")[0] in _LIBRARIES
    }
    # UnicodeError: no resolver takes the host.
    if not names and not isinstance(error, OSError | UnicodeError):
        raise error
    return Loss(
        reason=describe(error),
        error=error,
        was_sent=names.isdisjoint(_NOT_SENT) and not isinstance(error, UnicodeError),
        is_final=not is_loss(error, was_open=False),
    )


def timeout_after(seconds: float) -> Loss:
    """Return the loss of a request without a response in *seconds*."""
    reason = f"no response within {seconds:.1f} s"
    return Loss(reason, TimeoutError(reason), was_sent=True, is_final=False)


def _content_of(response: httpx2.Response) -> bytes:
    try:
        return response.content
    except RuntimeError:  # It was not read before the hook.
        return b""
