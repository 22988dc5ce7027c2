"""A badge, a job's progress and a log on one stream, with aiohttp.

python docs/examples/aiohttp_app.py 8000
gunicorn -k aiohttp.GunicornWebWorker -b :8000 --chdir docs/examples aiohttp_app:app
"""

import asyncio
import sys

from aiohttp import web

from roundel import Event, History
from roundel_adapters.aiohttp import stream_response
from roundel_adapters.topics import Topics
from screen import PAGE, numbers, run_job


def make_history(name, epoch):
    if name == "log":
        return History(epoch, capacity=100, start=Event("", "clear"))
    return History(epoch, capacity=0, snapshot=Event(str(numbers[name]), name))


topics = Topics(make_history)
routes = web.RouteTableDef()


@routes.get("/")
async def screen(request):
    return web.FileResponse(PAGE)


@routes.get("/events")
async def events(request):
    given = request.headers.get("Last-Event-ID")
    return stream_response(topics.stream(["badge", "job", "log"], last_event_id=given))


@routes.post("/run")
async def run(request):
    asyncio.get_running_loop().run_in_executor(None, run_job, topics)
    return web.Response(status=202)


app = web.Application()
app.add_routes(routes)
if __name__ == "__main__":
    web.run_app(app, host="127.0.0.1", port=int(sys.argv[1]))
