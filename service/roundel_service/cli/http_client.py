"""Calls of a running service, and in words why one failed."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from http import HTTPStatus

import httpx2
import msgspec

from roundel_adapters.client import StreamEnded

from ..http.problems import MEDIA_TYPE, ProblemDocument
from ..identity.jwks import is_loopback
from .errors import CommandError


def post(url: str, document: Mapping[str, object], *, key: str) -> str:
    """Post *document* with the producer's *key*; return the response's JSON.

    Raises `CommandError` for each other response, and without one.
    """
    headers = {"Authorization": f"Bearer {key}"}
    with (
        explain_request(url),
        httpx2.Client(trust_env=not is_local(url), headers=headers) as client,
    ):
        response = client.post(url, json=document)
    if response.is_success and _media_type(response) == "application/json":
        return response.text
    raise CommandError(*_problem_lines(response))


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
            f"cannot connect to {url}: {error}; is the service running there?"
        ) from None
    except httpx2.TimeoutException:
        raise CommandError(f"{url} did not answer in time") from None
    except StreamEnded as error:
        raise CommandError(f"{url}: {_rejection(error)}") from None
    # ImportError: a proxy of the environment needs a package that is missing.
    except (httpx2.HTTPError, httpx2.InvalidURL, ImportError) as error:
        raise CommandError(f"{url}: {error or repr(error)}") from None


def _rejection(error: StreamEnded) -> str:
    if error.status != HTTPStatus.UNAUTHORIZED:
        return str(error)
    return (
        "401 Unauthorized: the service rejects the token; ROUNDEL_JWT_SECRET, "
        "ROUNDEL_JWT_AUDIENCE and ROUNDEL_JWT_ISSUER have to be those of the service"
    )


def _problem_lines(response: httpx2.Response) -> list[str]:
    status = f"{response.status_code} {response.reason_phrase}".rstrip()
    if _media_type(response) == MEDIA_TYPE:
        try:
            problem = msgspec.json.decode(response.content, type=ProblemDocument)
        except msgspec.MsgspecError:
            pass
        else:
            errors = problem.errors or []
            return [
                f"{status}: {problem.detail}",
                *(f"{error.field}: {error.detail}" for error in errors),
            ]
    kind = _media_type(response) or "no content"
    reason = "it is not a Roundel service, or a proxy answered for it"
    return [f"{response.url} answered {status} with {kind}: {reason}"]


def _media_type(response: httpx2.Response) -> str:
    return response.headers.get("Content-Type", "").partition(";")[0].strip().lower()
