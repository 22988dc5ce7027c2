"""An HTTP client whose transport plays a script, without sockets."""

from __future__ import annotations

from functools import partial

import anyio

STREAM_HEADERS = {"content-type": "text/event-stream"}


def stream(*chunks, status=200, **headers):
    """Script a response: bytes are sent, a number waits, an exception is raised."""
    fields = {name.replace("_", "-"): value for name, value in headers.items()}
    return status, {**STREAM_HEADERS, **fields}, chunks


def status(code, **headers):
    """Script a response that has no body."""
    fields = {name.replace("_", "-"): value for name, value in headers.items()}
    return code, fields, ()


def scripted_client(library, *script, clock=None, **options):
    """Make an `AsyncClient` of *library* that plays *script*, and list its requests.

    In place of a response, an exception of the script is raised, and a number is a
    wait without a response. The list has the times of the requests too. With a *clock*
    it is a `Client`, which waits in the time of that clock.
    """
    requests = []
    left = list(script)

    async def handle(request):
        requests.append((anyio.current_time(), request))
        await request.aread()
        step = left.pop(0)
        if isinstance(step, float):
            await anyio.sleep(step)
            raise TimeoutError
        return _response(library, step, _body)

    def handle_sync(request):
        requests.append((clock.now(), request))
        request.read()
        step = left.pop(0)
        wait = partial(_wait_as_a_socket, library, clock, request)
        if isinstance(step, float):
            wait(step)
            raise TimeoutError
        return _response(library, step, partial(_sync_body, wait=wait))

    if clock is None:
        transport = library.MockTransport(handle)
        return library.AsyncClient(transport=transport, **options), requests
    transport = library.MockTransport(handle_sync)
    return library.Client(transport=transport, **options), requests


def _response(library, step, make_body):
    if isinstance(step, BaseException):
        raise step
    code, headers, chunks = step
    return library.Response(code, headers=headers, stream=make_body(library, chunks))


def _body(library, chunks):
    class Body(library.AsyncByteStream):
        async def __aiter__(self):
            for chunk in chunks:
                await anyio.lowlevel.checkpoint()
                if isinstance(chunk, BaseException):
                    raise chunk
                if isinstance(chunk, bytes):
                    yield chunk
                else:
                    await anyio.sleep(chunk)

    return Body()


def _sync_body(library, chunks, wait):
    class Body(library.SyncByteStream):
        def __iter__(self):
            for chunk in chunks:
                if isinstance(chunk, BaseException):
                    raise chunk
                if isinstance(chunk, bytes):
                    yield chunk
                else:
                    wait(chunk)

    return Body()


def _wait_as_a_socket(library, clock, request, seconds):
    """Wait for *seconds*, or until the read timeout of the request."""
    timeout = request.extensions["timeout"]["read"]
    if timeout is not None and seconds > timeout:
        clock.wait(timeout)
        raise library.ReadTimeout("timed out")
    clock.wait(seconds)
