"""The service as a model inside Label Studio: its ML backend protocol, under a path of its own.

Annotators are never held up: where there is no guess to give, a task gets none, and the answer is
still 200. What is guessed for annotators is no traffic: it is not recorded and never comes back
as training data.

The one place outside `labeling/studio` and `labeling/kinds` that knows Label Studio's JSON: the
service is packed without labeling, and this protocol is the service's own.
"""

import asyncio
import base64
import binascii
import json
import logging
import secrets
import time
import uuid
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any
from xml.etree import ElementTree

from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from models.serving.batcher import AT_ONCE, Answer, Inference, Unavailable
from models.serving.release_follower import ActiveModel
from models.serving.requests import RequestError
from models.serving.staged_images import ReadImage, Unreadable

SECONDS = 45.0  # of one /predict; later tasks get no guess, for the whole request would be lost
BODY_BYTES = 32 * 2**20  # of the tasks in one request: about 20,000
EVENT_BYTES = 2**20  # of an event that nobody reads
UNSET = (
    "HONE_BACKEND_SECRET is not set, so this service is no model for Label Studio; set it to a "
    "password of your own making, for the service and for `hone label`, and start both again"
)

logger = logging.getLogger("hone.service")

Guess = dict[str, Any]  # Label Studio's prediction


@dataclass(frozen=True)
class Screen:
    """Where a guess goes on a labelling screen: a choice about an image, and its classes."""

    control: str
    image: str
    field: str  # of a task's `data`, with the image's address
    classes: frozenset[str]


class Backend:
    """The guesses of the model that stands, for tasks of Label Studio."""

    def __init__(
        self,
        inference: Inference,
        active: Callable[[], ActiveModel],
        *,
        read_image: ReadImage,
        secret: str | None,
    ) -> None:
        self.secret = secret
        self._inference = inference
        self._active = active
        self._read_image = read_image
        self._guessed = 0
        self._passed: Counter[str] = Counter()

    @property
    def version(self) -> str:
        """The model that answers now, empty before there is one."""
        model = self._active().model
        return model.version if model else ""

    def status(self) -> dict[str, Any]:
        """How many guesses were given since the start, and why others were not."""
        return {
            "enabled": self.secret is not None,
            "guesses": self._guessed,
            "no_guess": dict(self._passed),
        }

    async def guesses(self, tasks: Sequence[Any], config: str) -> list[list[Guess]]:
        """For each task, in order, a list with its guess; an empty one says there is none.

        A forward pass for each `AT_ONCE` tasks; traffic that comes meanwhile goes in between.
        """
        model = self._active().model
        screen = screen_of(config, model.card.classes) if model else None
        if model is None or screen is None:
            return self._none(tasks, "NO_MODEL" if model is None else "NO_CHOICE")
        until, found = time.monotonic() + SECONDS, list[list[Guess]]()
        for start in range(0, len(tasks), AT_ONCE):
            part = tasks[start : start + AT_ONCE]
            late = time.monotonic() > until
            found += self._none(part, "LATE") if late else await self._guess(part, screen)
        self._guessed += sum(map(len, found))
        return found

    async def _guess(self, tasks: Sequence[Any], screen: Screen) -> list[list[Guess]]:
        images = await asyncio.to_thread(lambda: [self._image(task, screen) for task in tasks])
        good = [image for image in images if isinstance(image, bytes)]
        try:
            asked = self._inference.ask(uuid.uuid4().hex, good, recorded=False)
            found = await asyncio.wrap_future(asked)
        except Unavailable as error:
            return self._none(tasks, "UNAVAILABLE", str(error))
        answers = iter(found)
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
        except (OSError, RuntimeError) as error:  # the disk's, or a link that leads to itself
            return Unreadable("NOT_READ", str(error))

    def _placed(self, task: dict[str, Any], answer: Answer, screen: Screen) -> list[Guess]:
        if "error" in answer:
            return self._none([task], answer["error"]["reason"], answer["error"]["detail"])[0]
        label = answer["label"]
        if label not in screen.classes:  # Label Studio would take none of them
            return self._none([task], "UNKNOWN_CLASS", f"{label!r} is not on the screen")[0]
        chosen = {
            "from_name": screen.control,
            "to_name": screen.image,
            "type": "choices",
            "value": {"choices": [label]},
        }
        result = [] if is_blind(task) else [chosen]
        return [{"model_version": answer["model"], "score": answer["confidence"], "result": result}]

    def _none(self, tasks: Sequence[Any], reason: str, detail: str = "") -> list[list[Guess]]:
        numbers = [task.get("id") for task in tasks[:3] if isinstance(task, dict)]
        logger.warning(
            "no guess for %d tasks, first %s: %s %s", len(tasks), numbers, reason, detail
        )
        self._passed[reason] += len(tasks)
        return [[] for _ in tasks]


def is_blind(task: dict[str, Any]) -> bool:
    """Whether a task was sent with an empty guess: then its annotator is to see none."""
    known = task.get("predictions")
    guesses = known if isinstance(known, list) else []
    return any(isinstance(guess, dict) and guess.get("result") == [] for guess in guesses)


def screen_of(config: str, classes: Sequence[str]) -> Screen | None:
    """The choice about an image that names most of `classes`, None when there is no such."""
    if "<!" in config:  # a document type: no labelling screen has one
        return None
    try:
        tags = list(ElementTree.fromstring(config).iter())  # noqa: S314
    except ElementTree.ParseError:
        return None
    images = {
        tag.get("name"): tag.get("value", "").removeprefix("$")
        for tag in tags
        if tag.tag == "Image"
    }
    known = [
        Screen(
            control=tag.get("name", ""),
            image=tag.get("toName", ""),
            field=images[tag.get("toName")],
            classes=frozenset(one.get("value", "") for one in tag.iter("Choice")),
        )
        for tag in tags
        if tag.tag == "Choices" and tag.get("toName") in images and tag.get("perRegion") != "true"
    ]
    fitting = [screen for screen in known if screen.classes & set(classes)]
    return max(fitting, key=lambda screen: len(screen.classes & set(classes)), default=None)


async def health(request: Request) -> Response:
    """That the service is there; a model need not be."""
    return JSONResponse({"status": "UP", "model_version": _backend(request).version})


async def setup(request: Request) -> Response:
    """The model version that the project goes by.

    That is the one it was connected with (`labeling/studio/ml_backend.py`), whose guesses it has:
    Label Studio then asks only for tasks without one, whichever model stands meanwhile. The token
    that Label Studio hands over here is not kept.
    """
    given = (await _body(request)).get("extra_params")
    named = given.get("model_version") if isinstance(given, dict) else None
    version = named if isinstance(named, str) and named else _backend(request).version
    return JSONResponse({"model_version": version})


async def predict(request: Request) -> Response:
    """A result for each task, in order; an empty list stands where there is no guess."""
    body = await _body(request)
    tasks, config = body.get("tasks"), body.get("label_config")
    if not isinstance(tasks, list) or not isinstance(config, str):
        raise RequestError(400, "BAD_BODY", "`tasks` is a list, and `label_config` a text")
    return JSONResponse({"results": await _backend(request).guesses(tasks, config)})


async def versions(request: Request) -> Response:
    """The one version that can answer: the model that stands."""
    version = _backend(request).version
    return JSONResponse({"versions": [version] if version else []})


async def webhook(request: Request) -> Response:
    """200 for any event: answers are collected by `hone collect`, and nothing is done here.

    Label Studio sends its events without the password, so nothing is told either.
    """
    try:
        await _read(request, EVENT_BYTES)
    except RequestError as problem:
        return _refusal(problem)
    return JSONResponse({})


def _guarded(answer: Callable[[Request], Any]) -> Callable[[Request], Any]:
    """`answer` for those who know the password."""

    async def guarded(request: Request) -> Response:
        secret = _backend(request).secret
        if secret is None:
            return _refusal(RequestError(503, "NO_SECRET", UNSET))
        if not secrets.compare_digest(_password(request), secret.encode()):
            problem = RequestError(401, "WRONG_PASSWORD", "the password is HONE_BACKEND_SECRET's")
            return _refusal(problem, {"WWW-Authenticate": 'Basic realm="hone"'})
        try:
            response: Response = await answer(request)
        except RequestError as problem:
            return _refusal(problem)
        return response

    return guarded


def _password(request: Request) -> bytes:
    kind, _, words = request.headers.get("authorization", "").partition(" ")
    try:
        decoded = base64.b64decode(words, validate=True) if kind.lower() == "basic" else b""
    except binascii.Error:
        decoded = b""
    return decoded.partition(b":")[2]


def _backend(request: Request) -> Backend:
    found: Backend = request.app.state.hone.backend
    return found


async def _body(request: Request) -> dict[str, Any]:
    content = await _read(request, BODY_BYTES)
    try:
        found = await asyncio.to_thread(json.loads, content)
    except (ValueError, RecursionError):
        found = None
    if not isinstance(found, dict):
        raise RequestError(400, "NOT_JSON", "the body is no JSON object")
    return found


async def _read(request: Request, limit: int) -> bytes:
    content = bytearray()
    async for part in request.stream():
        content += part
        if len(content) > limit:
            raise RequestError(
                413, "BODY_TOO_LARGE", f"more than {limit:,} bytes; send fewer tasks"
            )
    return bytes(content)


def _refusal(problem: RequestError, headers: dict[str, str] | None = None) -> Response:
    said = {"error": {"reason": problem.reason, "detail": problem.detail}}
    return JSONResponse(said, problem.status, headers)


# Both spellings, as the service's own.
ROUTES = [
    Route(spelling, answer, methods=[method])
    for path, answer, method in (
        ("/health", _guarded(health), "GET"),
        ("/setup", _guarded(setup), "POST"),
        ("/predict", _guarded(predict), "POST"),
        ("/versions", _guarded(versions), "GET"),
        ("/webhook", webhook, "POST"),
    )
    for spelling in (path, f"{path}/")
]
