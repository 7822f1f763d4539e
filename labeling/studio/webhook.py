"""The webhook: Label Studio calls when somebody answered, and whoever collects is woken.

A call is a wake-up and nothing more. What was answered is read by collecting, which also finds what
no call told of: Label Studio calls once, inside the annotator's own request, and waits for a second
at most. So it is answered first, and whoever is to be woken is woken afterwards.
"""

import asyncio
import logging
import re
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from core.http_access import RateLimit, SecurityHeaders, TokenCheck, client_of
from labeling.studio.errors import detail

if TYPE_CHECKING:
    from label_studio_sdk.core.api_error import ApiError

    from labeling.studio.client import Studio

HEADER = "X-Hone-Secret"  # Label Studio signs nothing, but sends headers of our choice
PATH = "/label-studio/answers"  # where it is told to call; the receiver takes all of /label-studio
ACTIONS = ["ANNOTATION_CREATED", "ANNOTATION_UPDATED", "ANNOTATIONS_DELETED"]  # skips, too
PAUSE = 30.0  # seconds from one wake to the next: a collecting takes about as long to start and end
EVENT_BYTES = 2**20  # of a call that nobody reads

logger = logging.getLogger("hone.webhook")


def receiver(secret: str, wake: Callable[[], None], *, pause: float = PAUSE) -> Starlette:
    """An app that calls `wake` after calls with the secret, at most once in `pause` seconds.

    However many calls come, `wake` begins once more after the last of them; one that fails is
    repeated. `wake` may block: it runs in a thread, one at a time.
    """
    caller = _BackgroundCaller(wake, pause)
    check, limit = TokenCheck("HONE_WEBHOOK_SECRET", secret), RateLimit()

    async def called(request: Request) -> Response:
        given = request.headers.get(HEADER, "").encode("latin-1")
        if not check.accepts(given, client_of(request.scope)):
            return Response(status_code=403)
        if not limit.allows():
            caller.request()  # its body is not read, but no answer goes unnoticed
            return Response(status_code=429)
        size = 0
        async for part in request.stream():
            size += len(part)
            if size > EVENT_BYTES:
                return Response(status_code=413)
        caller.request()
        return Response(status_code=204)

    @asynccontextmanager
    async def living(_: Starlette) -> AsyncIterator[None]:
        yield
        await caller.close()

    return Starlette(
        routes=[Route("/label-studio/{rest:path}", called, methods=["POST"])],
        middleware=[Middleware(SecurityHeaders)],
        lifespan=living,
    )


class _BackgroundCaller:
    """Calls `wake` in the background, and again as long as calls come in meanwhile."""

    def __init__(self, wake: Callable[[], None], pause: float) -> None:
        self._wake, self._pause = wake, pause
        self._requested = False
        self._task: asyncio.Task[None] | None = None

    def request(self) -> None:
        """Have `wake` called soon."""
        self._requested = True
        if self._task is None or self._task.done():
            self._task = asyncio.create_task(self._run())

    async def close(self) -> None:
        """End; a call that was not passed on yet is passed on now."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.wait([self._task])
        if self._requested:
            await self._wake_once()

    async def _run(self) -> None:
        while self._requested:
            await self._wake_once()
            await asyncio.sleep(self._pause)

    async def _wake_once(self) -> None:
        self._requested = False
        try:
            await asyncio.to_thread(self._wake)
        except Exception as error:
            self._requested = True
            logger.warning("nobody was woken, another try follows: %s", error)


def register(studio: "Studio", url: str, secret: str) -> int:
    """Have the project call `url` about every answer; return the hook's id in Label Studio.

    Idempotent: a project has one hook of ours, also when the address or the secret has changed.
    """
    _check(url, secret)
    wanted: dict[str, Any] = {
        "url": url,
        "headers": {HEADER: secret},
        "actions": ACTIONS,  # always: an update without them silences the hook
        "send_for_all_actions": False,
        "send_payload": False,  # what was answered is nobody's business on the way
        "is_active": True,
    }
    hooks = studio.client.webhooks
    there = hooks.list(project=str(studio.project_id))
    ours = sorted(hook.id for hook in there if hook.url == url or HEADER in (hook.headers or {}))
    for spare in ours[1:]:
        hooks.delete(spare)
    from label_studio_sdk.core.api_error import ApiError

    try:
        if ours:
            hook = hooks.update(ours[0], **wanted)
        else:
            hook = hooks.create(project=studio.project_id, **wanted)
    except ApiError as error:
        raise _in_words(error, studio.url, url) from error
    return int(hook.id)


def _check(url: str, secret: str) -> None:
    if not re.fullmatch(r"https?://[^/\s@]+/\S*", url):
        raise ValueError(
            f"HONE_WEBHOOK_URL is {url!r}; an address like http://127.0.0.1:3001{PATH}, as Label "
            "Studio reaches this machine, is needed"
        )
    if not re.fullmatch(r"[\x21-\x7e]+", secret):
        raise ValueError(
            "HONE_WEBHOOK_SECRET is empty or has blanks or letters beyond ASCII, which do not pass "
            "in a header; choose another"
        )


def _in_words(error: "ApiError", at: str, url: str) -> Exception:
    """Why Label Studio does not take the hook; other errors as they are."""
    reason = detail(error.body)
    if error.status_code == 403 and "network address" in reason:
        return ValueError(
            f"Label Studio at {at} calls no local or private address such as {url}; start it with "
            "LABEL_STUDIO_USE_DEFAULT_BANNED_SUBNETS=false and "
            "LABEL_STUDIO_USER_ADDITIONAL_BANNED_SUBNETS=<the networks it still must not call>"
        )
    if error.status_code == 400 or "resolve" in reason:
        return ValueError(
            f"Label Studio at {at} takes no webhook to {url} ({reason}); correct HONE_WEBHOOK_URL, "
            "which is the address as Label Studio sees it"
        )
    return error
