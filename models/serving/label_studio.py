"""The service as a model inside Label Studio: its ML backend protocol, under a path of its own.

Annotators are never delayed: a task without a possible pre-annotation gets none, and the answer is
still 200. Pre-annotations are no traffic: they are not recorded and never become training data.

The one place outside `labeling/studio` and `labeling/kinds` that knows Label Studio's JSON: the
service is packed without labeling, and this protocol is the service's own.
"""

import asyncio
import base64
import json
import logging
import time
import uuid
from collections import Counter
from collections.abc import Callable, Sequence
from typing import Any

from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from core.http_access import RateLimit, TokenCheck, client_of
from models.serving.batcher import AT_ONCE, Inference, Unavailable
from models.serving.decoders import Answer
from models.serving.release_follower import ActiveModel
from models.serving.requests import RequestError
from models.serving.screen import Screen, screen_of
from models.serving.staged_images import ReadImage, Unreadable

SECONDS = 45.0  # of one /predict; later tasks get no pre-annotation, or the request would time out
READ_BYTES = 2**26  # of images, from which on no further one is read before these are answered
BODY_BYTES = 32 * 2**20  # of the tasks in one request: about 20,000
EVENT_BYTES = 2**20  # of an event that nobody reads
UNSET = (
    "HONE_BACKEND_SECRET is not set, so this service is no model for Label Studio; set it to a "
    "password of your choice, for the service and for `hone label`, and restart both"
)

logger = logging.getLogger("hone.service")

PreAnnotation = dict[str, Any]  # Label Studio's JSON of a prediction


class Backend:
    """Pre-annotations of the active model for tasks of Label Studio."""

    def __init__(
        self,
        inference: Inference,
        active: Callable[[], ActiveModel],
        *,
        read_image: ReadImage,
        secret: str | None,
    ) -> None:
        self.check = TokenCheck("HONE_BACKEND_SECRET", secret) if secret else None
        self.limit = RateLimit()
        self._inference = inference
        self._active = active
        self._read_image = read_image
        self._reading = asyncio.Lock()
        self._given = 0
        self._omitted: Counter[str] = Counter()

    @property
    def version(self) -> str:
        """The model that answers now, empty before there is one."""
        model = self._active().model
        return model.version if model else ""

    def status(self) -> dict[str, Any]:
        """Counts since the start: pre-annotations, and tasks without one by reason."""
        return {
            "enabled": self.check is not None,
            "pre_annotations": self._given,
            "without_pre_annotation": dict(self._omitted),
        }

    async def pre_annotations(self, tasks: Sequence[Any], config: str) -> list[list[PreAnnotation]]:
        """For each task, in order, a list with its pre-annotation, or an empty list.

        One forward pass for each `AT_ONCE` tasks, or fewer large ones; served traffic is answered
        in between.
        """
        model = self._active().model
        if model is None:
            return self._none(tasks, "NO_MODEL")
        card = model.card
        screen = await asyncio.to_thread(screen_of, config, card.classes, card.label_kind)
        if screen is None:
            return self._none(tasks, "NO_CHOICE")
        until, results = time.monotonic() + SECONDS, list[list[PreAnnotation]]()
        while len(results) < len(tasks):
            if time.monotonic() > until:
                results += self._none(tasks[len(results) :], "LATE")
                break
            results += await self._predict_first(tasks[len(results) :], screen)
        self._given += sum(map(len, results))
        return results

    async def _predict_first(
        self, tasks: Sequence[Any], screen: Screen
    ) -> list[list[PreAnnotation]]:
        """The results of the first of these tasks: as many as are read at once.

        The images of one request at a time are in memory; others take their turns in between.
        """
        async with self._reading:
            images = await asyncio.to_thread(self._images, tasks[:AT_ONCE], screen)
            return await self._predict(tasks[: len(images)], images, screen)

    def _images(self, tasks: Sequence[Any], screen: Screen) -> list[bytes | Unreadable]:
        """The images of the first tasks, the last of them the one that reaches `READ_BYTES`."""
        images, size = list[bytes | Unreadable](), 0
        for task in tasks:
            image = self._image(task, screen)
            images.append(image)
            size += len(image) if isinstance(image, bytes) else 0
            if size >= READ_BYTES:
                break
        return images

    async def _predict(
        self, tasks: Sequence[Any], images: Sequence[bytes | Unreadable], screen: Screen
    ) -> list[list[PreAnnotation]]:
        good = [image for image in images if isinstance(image, bytes)]
        try:
            asked = self._inference.ask(uuid.uuid4().hex, good, recorded=False)
            predictions = await asyncio.wrap_future(asked)
        except Unavailable as error:
            return self._none(tasks, "UNAVAILABLE", str(error))
        answers = iter(predictions)
        return [
            self._placed(task, next(answers), screen)
            if isinstance(image, bytes)
            else self._none([task], image.reason, image.detail)[0]
            for task, image in zip(tasks, images, strict=True)
        ]

    def _image(self, task: Any, screen: Screen) -> bytes | Unreadable:
        content = task.get("data") if isinstance(task, dict) else None
        address = content.get(screen.field) if isinstance(content, dict) else None
        try:
            if not isinstance(address, str):
                raise Unreadable("NO_IMAGE", f"it has no address in {screen.field!r}")
            return self._read_image(address)
        except Unreadable as error:
            return error
        except (OSError, RuntimeError, ValueError) as error:  # disk, circular link, no file name
            return Unreadable("NOT_READ", str(error))

    def _placed(self, task: dict[str, Any], answer: Answer, screen: Screen) -> list[PreAnnotation]:
        if "error" in answer:
            return self._none([task], answer["error"]["reason"], answer["error"]["detail"])[0]
        label = answer["label"]
        if label not in screen.classes:  # Label Studio would take none of them
            return self._none([task], "UNKNOWN_CLASS", f"{label!r} is not on the screen")[0]
        chosen = {
            "from_name": screen.control,
            "to_name": screen.image,
            **screen.kind.annotation(label),
        }
        result = [] if is_blind(task) else [chosen]
        return [{"model_version": answer["model"], "score": answer["confidence"], "result": result}]

    def _none(
        self, tasks: Sequence[Any], reason: str, detail: str = ""
    ) -> list[list[PreAnnotation]]:
        numbers = [task.get("id") for task in tasks[:3] if isinstance(task, dict)]
        logger.warning(
            "no pre-annotation for %d tasks, first %s: %s %s", len(tasks), numbers, reason, detail
        )
        self._omitted[reason] += len(tasks)
        return [[] for _ in tasks]


def is_blind(task: dict[str, Any]) -> bool:
    """Whether a task was sent with an empty prediction: its annotator must not see one."""
    sent = task.get("predictions")
    predictions = sent if isinstance(sent, list) else []
    return any(isinstance(one, dict) and one.get("result") == [] for one in predictions)


async def health(request: Request) -> Response:
    """200 while the service runs, with or without a model."""
    return JSONResponse({"status": "UP", "model_version": _backend(request).version})


async def setup(request: Request) -> Response:
    """The model version of the project.

    That is the version it was connected with (`labeling/studio/ml_backend.py`): Label Studio then
    asks only for tasks without a pre-annotation, whichever model is active. The token that Label
    Studio sends is not stored.
    """
    given = (await _body(request)).get("extra_params")
    named = given.get("model_version") if isinstance(given, dict) else None
    usable = isinstance(named, str) and named and named.isprintable()
    version = named if usable else _backend(request).version
    return JSONResponse({"model_version": version})


async def predict(request: Request) -> Response:
    """A result for each task, in order: its pre-annotation, or an empty list."""
    body = await _body(request)
    tasks, config = body.get("tasks"), body.get("label_config")
    if not isinstance(tasks, list) or not isinstance(config, str):
        raise RequestError(400, "BAD_BODY", "`tasks` is a list, and `label_config` a text")
    return JSONResponse({"results": await _backend(request).pre_annotations(tasks, config)})


async def versions(request: Request) -> Response:
    """The version of the active model."""
    version = _backend(request).version
    return JSONResponse({"versions": [version] if version else []})


async def webhook(request: Request) -> Response:
    """200 for any event: `hone collect` collects the answers, so nothing is done here."""
    await _read(request, EVENT_BYTES)
    return JSONResponse({})


def _guarded(answer: Callable[[Request], Any]) -> Callable[[Request], Any]:
    """`answer` for requests with the password; others get 401."""

    async def guarded(request: Request) -> Response:
        backend = _backend(request)
        if backend.check is None:
            return RequestError(503, "NO_SECRET", UNSET).response()
        if not backend.check.accepts(_password(request), client_of(request.scope)):
            problem = RequestError(401, "WRONG_PASSWORD", "the password is HONE_BACKEND_SECRET's")
            return problem.response({"WWW-Authenticate": 'Basic realm="hone"'})
        if not backend.limit.allows():
            detail = "ask for several tasks in one request"
            return RequestError(429, "TOO_MANY_REQUESTS", detail, retry_after=1).response()
        try:
            response: Response = await answer(request)
        except RequestError as problem:
            return problem.response()
        return response

    return guarded


def _password(request: Request) -> bytes:
    kind, _, words = request.headers.get("authorization", "").partition(" ")
    try:
        decoded = base64.b64decode(words, validate=True) if kind.lower() == "basic" else b""
    except ValueError:  # binascii.Error, and what is no ASCII
        decoded = b""
    return decoded.partition(b":")[2]


def _backend(request: Request) -> Backend:
    backend: Backend = request.app.state.hone.backend
    return backend


async def _body(request: Request) -> dict[str, Any]:
    content = await _read(request, BODY_BYTES)
    try:
        body = await asyncio.to_thread(json.loads, content)
    except (ValueError, RecursionError):
        body = None
    if not isinstance(body, dict):
        raise RequestError(400, "NOT_JSON", "the body is no JSON object")
    return body


async def _read(request: Request, limit: int) -> bytes:
    content = bytearray()
    async for part in request.stream():
        content += part
        if len(content) > limit:
            raise RequestError(
                413, "BODY_TOO_LARGE", f"more than {limit:,} bytes; send fewer tasks"
            )
    return bytes(content)


# Both spellings, as the service's own.
ROUTES = [
    Route(spelling, answer, methods=[method])
    for path, answer, method in (
        ("/health", _guarded(health), "GET"),
        ("/setup", _guarded(setup), "POST"),
        ("/predict", _guarded(predict), "POST"),
        ("/versions", _guarded(versions), "GET"),
        ("/webhook", _guarded(webhook), "POST"),
    )
    for spelling in (path, f"{path}/")
]
