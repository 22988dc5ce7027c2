"""Calls of a running service, and in words why one failed."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from http import HTTPStatus
from typing import TypeVar

import httpx2
import msgspec

from roundel_adapters.client import StreamEnded

from ..addresses import is_loopback
from ..http.responses import PROBLEM_MEDIA_TYPE, ProblemDocument
from .errors import CommandError

ClientT = TypeVar("ClientT", httpx2.Client, httpx2.AsyncClient)


def post(url: str, document: Mapping[str, object], *, key: str) -> str:
    """Post *document* with the producer's *key*; return the response's JSON.

    Raises `CommandError` for each other response, and without one.
    """
    headers = {"Authorization": f"Bearer {key}"}
    with (
        explain_request(url),
        new_client(httpx2.Client, url, headers=headers) as client,
    ):
        response = client.post(url, json=document)
    if response.is_success and _media_type(response) == "application/json":
        return response.text
    raise CommandError(*_problem_lines(response))


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
    """Raise a `CommandError` for an error of the HTTP client."""
    try:
        yield
    except httpx2.ConnectError as error:
        raise CommandError(
            f"cannot connect to {url}: {_reason(error)}; is the service running there?"
        ) from None
    except httpx2.TimeoutException:
        raise CommandError(f"{url} did not answer in time") from None
    except StreamEnded as error:
        raise CommandError(f"{url}: {_rejection(error)}") from None
    # UnicodeError: no resolver takes the host.
    except (httpx2.HTTPError, httpx2.InvalidURL, UnicodeError) as error:
        raise CommandError(f"{url}: {_reason(error)}") from None


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


def _problem_lines(response: httpx2.Response) -> list[str]:
    status = f"{response.status_code} {response.reason_phrase}".rstrip()
    if _media_type(response) == PROBLEM_MEDIA_TYPE:
        try:
            problem = msgspec.json.decode(response.content, type=ProblemDocument)
        except msgspec.MsgspecError:
            pass
        else:
            errors = [f"{each.field}: {each.detail}" for each in problem.errors or []]
            # The detail of the service has the only error, or all of them.
            detail = problem.detail
            return [f"{status}: {detail}", *(e for e in errors if e not in detail)]
    kind = _media_type(response) or "no content"
    reason = "it is not a Roundel service, or a proxy answered for it"
    return [f"{response.url} answered {status} with {kind}: {reason}"]


def _media_type(response: httpx2.Response) -> str:
    return response.headers.get("Content-Type", "").partition(";")[0].strip().lower()
