"""The way of a request: what is around all that BentoML serves, and our own routes inside of it."""

from collections.abc import Awaitable, Callable, Collection, Iterable
from typing import Any

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute, Mount, Route

from core.http_access import PAGE_POLICY, App, BearerGuard, Receive, SecurityHeaders, Send
from models.serving.bodies import Scope
from models.serving.deployment import TOKEN, service_token
from models.serving.metrics import CountRequests

AROUND: tuple[tuple[Callable[..., App], dict[str, Any]], ...] = (  # from outside to inside
    (CountRequests, {}),
    (SecurityHeaders, {"policy": PAGE_POLICY}),
    (BearerGuard, {"name": TOKEN, "token": service_token, "open_below": "/label-studio/"}),
)


def guarded(inner: App) -> App:
    """An application within all that is around what BentoML serves."""
    for layer, options in reversed(AROUND):
        inner = layer(inner, **options)
    return inner


class OwnRoutes:
    """ASGI middleware inside of all others: our application answers its own paths.

    BentoML's handlers of the same routes, which exist for its clients and documents, would take
    the body of a request apart before any limit holds, in ten times the time.
    """

    def __init__(self, app: App, *, ours: App, routes: Iterable[BaseRoute]) -> None:
        self._app, self._ours = app, ours
        routes = list(routes)
        self._paths = {route.path for route in routes if isinstance(route, Route)}
        self._below = tuple(f"{route.path}/" for route in routes if isinstance(route, Mount))

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass the request on."""
        is_ours = scope["type"] == "http" and (
            scope["path"] in self._paths or scope["path"].startswith(self._below)
        )
        await (self._ours if is_ours else self._app)(scope, receive, send)


class Shortcut:
    """ASGI middleware inside of our application's: requests of these paths need no router."""

    def __init__(
        self, app: App, *, paths: Collection[str], answer: Callable[[Request], Awaitable[Response]]
    ) -> None:
        self._app, self._paths, self._answer = app, paths, answer

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a POST to one of the paths, or pass the request on."""
        if scope["type"] == "http" and scope["method"] == "POST" and scope["path"] in self._paths:
            response = await self._answer(Request(scope, receive, send))
            await response(scope, receive, send)
        else:
            await self._app(scope, receive, send)
