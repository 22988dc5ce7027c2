"""The routes of the HTTP contract: method, path and handler."""

from __future__ import annotations

from ..streams.hub import Hub
from . import openapi
from .access_control import AccessControl
from .handlers.batch import BatchHandler
from .handlers.items import ItemHandlers
from .handlers.notify import NotifyHandler
from .handlers.preferences import PreferencesHandlers
from .handlers.producers import ProducerHandlers
from .handlers.retention import Retention
from .handlers.stream import StreamHandler
from .handlers.topics import TopicHandlers
from .handlers.update import UpdateHandler
from .handlers.users import UserHandlers
from .handlers.web import web_routes
from .messages import Request, Response, json_response
from .responses import LiveResponse
from .router import Route


def create_routes(
    hub: Hub, access: AccessControl, retention: Retention | None = None
) -> tuple[Route, ...]:
    """Return the route of every operation."""
    retention = retention or Retention()
    users, producers = UserHandlers(hub, access), ProducerHandlers(hub, access)
    preferences, topics = PreferencesHandlers(hub, access), TopicHandlers(hub, access)
    items = ItemHandlers(hub, access)
    user, gauge = "/v1/users/{user}", "/v1/users/{user}/gauges/{category}"
    topic = "/v1/topics/{topic}"
    return (
        Route("POST", "/v1/notify", NotifyHandler(hub, access, retention).notify),
        Route("POST", "/v1/batch", BatchHandler(hub, access, retention).batch),
        Route("POST", "/v1/update", UpdateHandler(hub, access).update),
        Route("DELETE", "/v1/items", producers.retract),
        Route("PUT", gauge, producers.set_gauge),
        Route("DELETE", gauge, producers.drop_gauge),
        Route("GET", f"{user}/badge", users.badge_of_user),
        Route("GET", f"{user}/items", items.of_user),
        Route("GET", f"{user}/streams", producers.streams),
        Route("GET", f"{user}/preferences", preferences.of_user),
        Route("PUT", f"{user}/preferences", preferences.set_of_user),
        Route("GET", f"{user}/explain", producers.explain),
        Route("POST", f"{user}/disconnect", producers.disconnect),
        Route("DELETE", user, producers.forget),
        Route("GET", f"{user}/topics", topics.of_user),
        Route("GET", topic, topics.read),
        Route("DELETE", topic, topics.delete),
        Route("GET", f"{topic}/explain", topics.explain),
        Route("POST", f"{topic}/followers", topics.followers),
        Route("POST", "/v1/tickets", users.ticket),
        Route("GET", "/v1/badge", users.badge),
        Route("GET", "/v1/items", items.own),
        Route("POST", "/v1/ops", users.ops),
        Route("GET", "/v1/preferences", preferences.own),
        Route("PUT", "/v1/preferences", preferences.set_own),
        Route("GET", "/v1/stream", StreamHandler(hub, access).stream),
        Route("GET", "/livez", _live),
        *(Route("GET", path, page) for path, page in openapi.pages().items()),
        *(Route("GET", path, page) for path, page in web_routes().items()),
    )


async def _live(request: Request) -> Response:
    return json_response(LiveResponse("ok"))
