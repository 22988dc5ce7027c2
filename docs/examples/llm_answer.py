"""The answer of a language model, which survives a reload, with FastAPI.

uvicorn --app-dir docs/examples llm_answer:app --port 8000
hypercorn -w 0 -b 127.0.0.1:8000 docs/examples/llm_answer.py
granian --interface asgi --working-dir docs/examples --port 8000 llm_answer:app
"""

import asyncio
from pathlib import Path
from secrets import token_urlsafe
from typing import Annotated

from fastapi import Depends, FastAPI, Response
from fastapi.responses import FileResponse

from roundel import Event, History
from roundel_adapters.starlette import EventStreamResponse, last_event_id
from roundel_adapters.topics import Topics


def make_history(name, epoch):
    return History(epoch, capacity=64, snapshot=Event("", "answer"))


app = FastAPI()
topics = Topics(make_history, max_topics=1_000, max_idle=600.0)
tasks: set[asyncio.Task[None]] = set()


async def call_model(prompt):
    """Stand in for the client of a model, which yields tokens."""
    for word in f"You said: {prompt} That is {len(prompt)} characters.".split(" "):
        await asyncio.sleep(0.1)
        yield f"{word} "


async def write_answer(name, prompt):
    answer = ""
    try:
        async for token in call_model(prompt):
            answer += token
            topics.publish(
                name, Event(token, "token"), snapshot=Event(answer, "answer")
            )
    finally:
        topics.publish(name, Event("", "done"))


@app.get("/")
def page():
    return FileResponse(Path(__file__).with_name("llm_answer.html"))


@app.post("/answers")
async def ask(prompt: str) -> str:
    name = token_urlsafe(12)
    topics.publish(name, Event("", "token"))
    task = asyncio.create_task(write_answer(name, prompt))
    tasks.add(task)
    task.add_done_callback(tasks.discard)
    return name


@app.get("/answers/{name}")
async def follow(name: str, given: Annotated[str, Depends(last_event_id)]) -> Response:
    if name not in topics:
        return Response(status_code=204)  # An EventSource does not reconnect then.
    return EventStreamResponse(topics.stream(name, last_event_id=given))
