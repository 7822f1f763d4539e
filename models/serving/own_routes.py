"""Requests for the service's own routes go straight to its application."""

from collections.abc import Iterable

from starlette.routing import BaseRoute, Mount, Route

from core.http_access import App, Receive, Send
from models.serving.bodies import Scope


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
