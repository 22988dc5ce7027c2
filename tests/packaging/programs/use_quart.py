"""The extra `quart`: a stream as the response of a Quart view, on asyncio."""

from __future__ import annotations

import asyncio
from contextlib import closing

from quart import Quart, Response

from roundel import CloseMessage, Event
from roundel_adapters.quart import stream_response
from roundel_adapters.topics import Topics

topics = Topics(signals=False)
app = Quart(__name__)


@app.get("/news")
async def news() -> Response:
    stream = topics.stream(["news"])
    stream.close(CloseMessage(Event("", "bye"), retry=1_000))
    return stream_response(stream)


async def main() -> None:
    with closing(topics):
        response = await app.test_client().get("/news")
        body = await response.get_data(as_text=True)
    assert "event: bye" in body, body


asyncio.run(main())
