"""An HTTP client whose transport plays a script, without sockets."""

from __future__ import annotations

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


def scripted_client(library, *script, **options):
    """Make an `AsyncClient` of *library* that plays *script*, and list its requests.

    In place of a response, an exception of the script is raised, and a number is a
    wait without a response. The list has the times of the requests too.
    """
    requests = []
    left = list(script)

    async def handle(request):
        requests.append((anyio.current_time(), request))
        await request.aread()
        step = left.pop(0)
        if isinstance(step, BaseException):
            raise step
        if isinstance(step, float):
            await anyio.sleep(step)
            raise TimeoutError
        code, headers, chunks = step
        return library.Response(code, headers=headers, stream=_body(library, chunks))

    transport = library.MockTransport(handle)
    return library.AsyncClient(transport=transport, **options), requests


def _body(library, chunks):
    class Body(library.AsyncByteStream):
        closed = False

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
