"""`hone metrics --port`: the numbers of the loop over HTTP, for Prometheus to scrape."""

import asyncio

import uvicorn
from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import Route

from core.http_access import BearerGuard, SecurityHeaders, bound_socket, refuse_open_address
from tasks.context import open_context
from tasks.operate.metrics import LastExposition, exposition

TOKEN = "HONE_SERVICE_TOKEN"  # noqa: S105  (the name of a setting; Prometheus sends one to both)
TEXT = "text/plain; version=0.0.4; charset=utf-8"


def serve_metrics(host: str, port: int) -> None:
    """Answer scrapes at `/metrics` until a signal stops it.

    What keeps the numbers from being read is answered with 503 and its reason: the target is down.
    """
    ctx = open_context()
    secret = ctx.settings.service_token
    token = secret.get_secret_value() if secret else None
    refuse_open_address(host, {TOKEN: token}, needed=TOKEN)
    app = metrics_app(LastExposition(lambda: exposition(ctx)), token)
    with bound_socket(host, port) as listener:
        print(f"http://{host}:{listener.getsockname()[1]}/metrics answers", flush=True)
        uvicorn.Server(uvicorn.Config(app, log_level="warning", access_log=False)).run([listener])


def metrics_app(last: LastExposition, token: str | None) -> Starlette:
    """The server's application."""

    async def metrics(request: Request) -> Response:
        try:
            text = await asyncio.to_thread(last.text)
        except Exception as error:  # a database that is away, a journal that is locked
            problem = " ".join(str(error).split())
            return PlainTextResponse(f"{type(error).__name__}: {problem}\n", 503)
        return Response(text, media_type=TEXT)

    guard = Middleware(BearerGuard, name=TOKEN, token=lambda: token, open_below="/none/")
    routes = [Route("/metrics", metrics, methods=["GET"])]
    return Starlette(routes=routes, middleware=[Middleware(SecurityHeaders), guard])
