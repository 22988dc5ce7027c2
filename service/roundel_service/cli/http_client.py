"""Calls of a running service, and in words why one failed."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http import HTTPStatus
from http.client import responses
from typing import TypeVar

import httpx2

from roundel_adapters.client import StreamEnded

from ..addresses import is_loopback
from ..client import (
    BadgeClient,
    ProblemResponse,
    ServiceUnreachable,
    UnexpectedResponse,
)
from .errors import CommandError

ClientT = TypeVar("ClientT", httpx2.Client, httpx2.AsyncClient)


@contextmanager
def producer_client(url: str, *, key: str) -> Iterator[BadgeClient]:
    """Yield a client of the service at *url*, with the producer's *key*.

    A command repeats no call: its user sees the error at once.
    """
    with new_client(httpx2.Client, url) as client:
        yield BadgeClient(url, key=key, client=client, max_retries=0)


def new_client(make: Callable[..., ClientT], url: str, **options: object) -> ClientT:
    """Return a client for *url*, by the proxy of the environment unless it is local.

    Raises `CommandError` if the environment names an unusable proxy or certificate.
    """
    try:
        return make(trust_env=not is_local(url), **options)
    # ImportError: a proxy needs a package that is missing.
    except (OSError, ValueError, ImportError, httpx2.InvalidURL) as error:
        raise CommandError(
            f"cannot use the environment's proxy or certificates: {error}; look at "
            "HTTP_PROXY, HTTPS_PROXY, ALL_PROXY, SSL_CERT_FILE and SSL_CERT_DIR"
        ) from None


def is_local(url: str) -> bool:
    """Return whether *url* is on this machine, where no proxy may be used."""
    return is_loopback(httpx2.URL(url).host)


@contextmanager
def explain_request(url: str) -> Iterator[None]:
    """Raise a `CommandError` for an error of a call of *url*."""
    try:
        yield
    except ProblemResponse as error:
        raise CommandError(*_problem_lines(error)) from None
    except UnexpectedResponse as error:
        raise CommandError(f"{url} answered {error.reason}") from None
    except ServiceUnreachable as error:
        raise CommandError(_loss(url, error.__cause__ or error)) from None
    except StreamEnded as error:
        raise CommandError(f"{url}: {_rejection(error)}") from None
    # UnicodeError: no resolver takes the host.
    except (httpx2.HTTPError, httpx2.InvalidURL, UnicodeError) as error:
        raise CommandError(_loss(url, error)) from None


def _loss(url: str, error: BaseException) -> str:
    reason = _reason(error)
    match error:
        case httpx2.ConnectError():
            return f"cannot connect to {url}: {reason}; is the service running there?"
        case httpx2.TimeoutException() | TimeoutError():
            return f"{url} did not answer in time"
        case _:
            return f"{url}: {reason}"


def _reason(error: BaseException) -> str:
    """Return the message of *error*, or of the first cause that has one."""
    cause: BaseException | None = error
    while cause and not str(cause):
        cause = cause.__cause__ or cause.__context__
    return str(cause or repr(error))


def _rejection(error: StreamEnded) -> str:
    if error.status != HTTPStatus.UNAUTHORIZED:
        return str(error)
    return (
        "401 Unauthorized: the service rejects the token; ROUNDEL_JWT_SECRET, "
        "ROUNDEL_JWT_AUDIENCE and ROUNDEL_JWT_ISSUER have to be those of the service"
    )


def _problem_lines(error: ProblemResponse) -> list[str]:
    status = f"{error.status} {responses.get(error.status, '')}".rstrip()
    errors = [f"{each.field}: {each.detail}" for each in error.errors]
    # The detail of the service has the only error, or all of them.
    more = (each for each in errors if each not in error.detail)
    return [f"{status}: {error.detail}", *more]
