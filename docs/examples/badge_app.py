"""A badge for each user, with FastAPI.

uvicorn --app-dir docs/examples badge_app:app --port 8000
"""

from collections import Counter
from typing import Annotated

from fastapi import Depends, FastAPI
from fastapi.responses import HTMLResponse

from roundel import Event, History
from roundel_adapters.starlette import EventStreamResponse, last_event_id
from roundel_adapters.topics import Topics

PAGE = """<!doctype html><title>Badge</title><p>Unread: <b id="badge"></b></p>
<script>
  const stream = new EventSource("/events/alice");
  stream.onmessage = ({ data }) => { badge.textContent = data; };
</script>"""

unread: Counter[str] = Counter()


def make_history(user: str, epoch: str) -> History:
    return History(epoch, capacity=0, snapshot=Event(str(unread[user])))


app = FastAPI()
topics = Topics(make_history)


@app.get("/", response_class=HTMLResponse)
async def page() -> str:
    return PAGE


@app.get("/events/{user}")
async def events(
    user: str, given: Annotated[str, Depends(last_event_id)]
) -> EventStreamResponse:
    return EventStreamResponse(topics.stream(user, last_event_id=given))


@app.post("/notify/{user}", status_code=202)
async def notify(user: str) -> None:
    unread[user] += 1
    topics.publish(user, Event(str(unread[user])))
