"""The webhook's process, and the event by which answers start a collect."""

import uvicorn

from core.http_access import bound_socket
from labeling.studio import client, webhook
from tasks.context import Context, open_context
from tasks.events import EventName, emit
from tasks.label.choose import studio_address

PORT = 3001  # the usual port of `hone webhook`


def serve_webhook(port: int = PORT) -> None:
    """Have Label Studio call this process about every answer, and raise `hone.answers` for them.

    Comes back when it is stopped by a signal. One event is raised at the start, for what was
    answered while nobody listened. What an event misses, the next poll finds.
    """
    ctx = open_context()
    secret = _secret(ctx)
    with bound_socket("127.0.0.1", port) as listener:
        port = listener.getsockname()[1]
        url = ctx.settings.webhook_url or f"http://127.0.0.1:{port}{webhook.PATH}"
        announce_answers(ctx)
        with client.connect(**studio_address(ctx)) as studio:
            studio.project(ctx.workspace, bucket=ctx.image_bucket)
            webhook.register(studio, url, secret)
        print(f"Label Studio calls {url}, and 127.0.0.1:{port} listens", flush=True)
        app = webhook.receiver(secret, lambda: announce_answers(ctx))
        uvicorn.Server(uvicorn.Config(app, log_level="warning", access_log=False)).run([listener])


def announce_answers(ctx: Context) -> None:
    """Raise `hone.answers`; an event that Prefect did not take is a `ConnectionError`.

    The event only wakes `collect`: what was answered is read from Label Studio.
    """
    emit(ctx, EventName.ANSWERS)


def _secret(ctx: Context) -> str:
    """The shared secret; a missing setting is an error with its remedy."""
    if not ctx.settings.prefect_api_url:
        raise ValueError(
            "PREFECT_API_URL is not set, so no collect would start; start a server with `prefect "
            "server start`, deploy the flows there, and set PREFECT_API_URL to it"
        )
    if ctx.settings.webhook_secret is None:
        raise ValueError(
            "HONE_WEBHOOK_SECRET is not set, so anybody could call; set it to a password of your "
            "own making"
        )
    return ctx.settings.webhook_secret.get_secret_value()
