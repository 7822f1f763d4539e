"""The service: `POST /predict` answers images, `POST /feedback` takes truths about the answers.

Run it with `bentoml serve` in the repository, or from anywhere as a bento. With HONE_WORKSPACE it
follows that workspace's releases; without, it serves the model that its bento was built with.
"""

import asyncio
import os
import time
from dataclasses import asdict, dataclass
from typing import Any, cast

import bentoml
import torch
from sqlalchemy.exc import SQLAlchemyError
from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Mount, Route

from core.access import keep_others_out
from core.database import connect
from core.http_access import App
from models.registry.halts import Halt, HaltPolicy
from models.registry.model_card import ModelCard
from models.serving import answered, connections, feedback, label_studio
from models.serving.answer_cache import MEBIBYTE, AnswerCache
from models.serving.batcher import Inference, Unavailable, client_json
from models.serving.bodies import BODY_SECONDS, SECONDS, CompleteBodies
from models.serving.callbacks import CallbackRecorder, rules_of
from models.serving.cascade import cascade_status
from models.serving.client_api import ClientApi
from models.serving.client_rates import ClientRates
from models.serving.decoders import Answer
from models.serving.deliveries import awaited
from models.serving.deployment import (
    ReleasedModel,
    bundled_model,
    database_of,
    image_reader,
    plain,
    prepare_to_serve,
    runtimes_of,
    traffic_of,
    workspace_of,
)
from models.serving.earlier_answers import EarlierAnswers
from models.serving.endpoints import docs, document
from models.serving.metrics import ShownModel, TimeAnswers, metrics
from models.serving.own_routes import AROUND, OwnRoutes, Shortcut, guarded
from models.serving.release_follower import ActiveModel, ReleaseFollower
from models.serving.requests import (
    NOBODY,
    RequestError,
    Sender,
    digest_of,
    new_request_id,
    read_images,
    request_id_of,
    sender_of,
)
from models.serving.segments import SegmentWriter
from models.serving.supervisor import end_with_supervisor
from settings import Settings

HALTED_SECONDS = 60  # until a client of a halted service should try again
PREDICT = ("/predict", "/predict/")
REMEMBERED = 512  # requests whose answers a worker stores for retries


async def predict(request: Request) -> Response:
    """Predictions for the images of a form, in order: 200 if any image was good, else 400.

    A bad image has an `error` in place of a prediction. A request repeated under its
    `X-Request-ID` gets the same answer; other images under that id get 409. A halted service
    answers 503 HALTED, or abstains, by the halt's policy.
    """
    hone: Hone = request.app.state.hone
    if refused := hone.refusal:  # before a body is taken apart
        return refused.response()
    try:
        given, sender = request_id_of(request), sender_of(request)
        url = hone.callbacks.url_of(request)
        request_id, answers = await hone.answers(await read_images(request), given, sender)
        await hone.callbacks.record(url, answers)
    except RequestError as problem:
        return problem.response()
    return JSONResponse(
        {"request_id": request_id, "predictions": answers},
        200 if any("label" in answer for answer in answers) else 400,
        {"X-Request-ID": request_id},
    )


def _halted(halt: Halt) -> RequestError:
    detail = f"the service was halted at {halt.halted_at} by {halt.who}: {halt.why}"
    return RequestError(503, "HALTED", detail, retry_after=HALTED_SECONDS)


def _abstained(answer: Answer) -> Answer:
    """The answer of a halted service: no label to act on, though what the model sees is shown."""
    if "label" not in answer:
        return answer
    return {**answer, "abstain": True, "needs_review": True}


async def status(request: Request) -> Response:
    """The model that answers, and the problem that keeps a newer release from being served."""
    return JSONResponse(request.app.state.hone.state())


async def report_failure(request: Request, error: Exception) -> Response:
    """500 with a reason for an error that no rule foresaw; the server logs its traceback."""
    detail = f"{type(error).__name__} in the service; its log has the traceback"
    return RequestError(500, "INTERNAL_ERROR", detail).response()


def _bounded_clients(app: App) -> ClientRates:
    return ClientRates(app, Settings().requests_per_minute)


# Both spellings, and at the root: Starlette would answer the other spelling with a redirect.
app = Starlette(
    routes=[
        *(Route(path, predict, methods=["POST"]) for path in PREDICT),
        *feedback.ROUTES,
        *answered.ROUTES,
        # POST as BentoML's clients send whatever they call.
        *(Route(path, status, methods=["GET", "POST"]) for path in ("/status", "/status/")),
        *(Route(path, metrics, methods=["GET"]) for path in ("/metrics", "/metrics/")),
        Route("/docs.json", docs, methods=["GET"]),
        Mount("/label-studio", routes=label_studio.ROUTES),
    ],
    middleware=[
        Middleware(_bounded_clients),
        Middleware(CompleteBodies),
        Middleware(TimeAnswers),
        Middleware(Shortcut, paths=PREDICT, answer=predict),
    ],
    exception_handlers={Exception: report_failure},
)
connections.register()


@dataclass
class _Asked:
    """A request under an id of its client's."""

    digest: str  # of its images
    answers: "asyncio.Future[list[Answer]]"
    awaited_by: int = 0


@bentoml.service(
    name="hone",
    workers=Settings().workers,  # while one is replaced another one answers
    http={"host": "127.0.0.1"},  # `--host` opens it to others, who need HONE_SERVICE_TOKEN
    # BentoML would count the time and the place of a request from its first byte on: see bodies.py.
    traffic={"timeout": BODY_SECONDS + 2 * SECONDS},
    logging={"access": {"enabled": False}},  # the prediction store is the log
    metrics={"enabled": False},  # of BentoML: it counts every path that a client makes up, for ever
    tracing={"excluded_urls": ".*"},  # it takes a quarter of a request, and a tenth when it is off
    envs=[{"name": "OTEL_SDK_DISABLED", "value": "true"}],
)
@bentoml.asgi_app(app, path="/")
class Hone(ClientApi):
    """Labels for images: POST /predict, a form with files in the field `images`."""

    released = ReleasedModel("hone")

    def __init__(self) -> None:
        end_with_supervisor()
        keep_others_out()
        settings = Settings()
        torch.set_num_threads(settings.threads)
        self._began = time.monotonic()
        self._settings = settings
        self._follower: ReleaseFollower | None = None
        engine = None
        workspace = workspace_of(settings)
        self._runtimes = runtimes_of(settings, workspace)
        if workspace is None:
            bundled = self._runtimes.attach(bundled_model(_bento(), settings.threads))
            self._alone = ActiveModel(bundled)
            ShownModel().show(bundled.version, None, None)
        else:
            engine = connect(database_of(settings, workspace))
            self._follower = ReleaseFollower(
                engine, workspace.bento_home, threads=settings.threads, runtimes=self._runtimes
            )
            self._follower.start()
        self._writer = SegmentWriter(traffic_of(settings, workspace))
        self._inference = Inference(
            lambda: self.active,
            self._writer,
            needs_review_below=settings.needs_review_below,
            threads=settings.threads,
            request_pixels=settings.request_pixels,
            cache=AnswerCache(settings.answer_cache * MEBIBYTE),
        )
        self.backend = label_studio.Backend(
            self._inference,
            lambda: self.active,
            read_image=image_reader(settings, workspace),
            secret=plain(settings.backend_secret),
        )
        self.recorder = feedback.FeedbackRecorder(self._writer.folder)
        rules = rules_of(settings.callbacks, plain(settings.callback_secret))
        self.callbacks = CallbackRecorder(self._writer.folder, rules if workspace else ())
        self._earlier = EarlierAnswers(self._writer.folder)
        self._earlier.read_in_background()
        self.answered = answered.AnsweredPredictions(engine, self._earlier)
        self._cards: dict[str, ModelCard] = {}  # of models that answered, and do no more
        self._asked: dict[str, _Asked] = {}  # oldest first
        app.state.hone, app.state.document = self, document(_version())
        connections.Connection.predict = guarded(app)

    @property
    def active(self) -> ActiveModel:
        """The model that answers now."""
        return self._follower.active if self._follower else self._alone

    @property
    def refusal(self) -> RequestError | None:
        """What every request for predictions gets while the service is halted, by its policy."""
        halt = self.active.halt
        return _halted(halt) if halt and halt.policy == HaltPolicy.REFUSE else None

    async def answers(
        self,
        files: list[tuple[str, bytes]],
        request_id: str | None = None,
        sender: Sender = NOBODY,
    ) -> tuple[str, list[Answer]]:
        """The id of the request, and an answer for each file by name and content.

        Under an id that its client gave the answers are computed once. A `RequestError` refuses.
        """
        halt = self.active.halt
        if refused := self.refusal:
            raise refused
        asked = self.ask_once if request_id else self.ask
        request_id = request_id or new_request_id()
        try:
            answers = await asked(request_id, [content for _, content in files], sender)
        except Unavailable as error:
            raise RequestError(503, "UNAVAILABLE", str(error), retry_after=1) from error
        if halt is not None:
            answers = [_abstained(answer) for answer in answers]
        named = zip(files, answers, strict=True)
        return request_id, [{"file": name, **answer} for (name, _), answer in named]

    async def ask(
        self, request_id: str, images: list[bytes], sender: Sender = NOBODY
    ) -> list[Answer]:
        """An answer for each image, recorded on disk before it is returned.

        Cancelling it stops the work on the images.
        """
        return await awaited(self._inference.ask(request_id, images, sender=sender))

    async def ask_once(
        self, request_id: str, images: list[bytes], sender: Sender = NOBODY
    ) -> list[Answer]:
        """The answers of `ask`, computed once for each request id, whichever worker gets it.

        The work stops when the last request that awaits it is cancelled.
        """
        digest = await asyncio.to_thread(digest_of, images)
        while True:
            known = self._known(request_id, digest, images, sender)
            known.awaited_by += 1
            try:
                return await asyncio.shield(known.answers)
            except asyncio.CancelledError:
                current = asyncio.current_task()
                if current is None or current.cancelling():
                    if known.awaited_by == 1:
                        known.answers.cancel()
                    raise
                # The last request that awaited it before was cancelled in this moment: ask anew.
            finally:
                known.awaited_by -= 1

    def _known(self, request_id: str, digest: str, images: list[bytes], sender: Sender) -> "_Asked":
        """What a request id asks for, begun now unless it is under way or answered."""
        known = self._asked.get(request_id)
        if known is None:
            known = self._asked[request_id] = _Asked(
                digest, self._begin(request_id, images, sender)
            )
            if len(self._asked) > REMEMBERED:  # one in progress would be computed twice
                ended = (name for name, one in self._asked.items() if one.answers.done())
                self._asked.pop(next(ended, ""), None)
        if known.digest != digest:
            raise RequestError(
                409, "REQUEST_ID_REUSED", f"X-Request-ID {request_id} came with other images before"
            )
        return known

    def _begin(
        self, request_id: str, images: list[bytes], sender: Sender
    ) -> "asyncio.Future[list[Answer]]":
        def forget_failure(done: "asyncio.Future[list[Answer]]") -> None:
            if done.cancelled() or done.exception():
                self._asked.pop(request_id, None)  # a retry asks anew

        answers = asyncio.ensure_future(self._ask_unless_recorded(request_id, images, sender))
        answers.add_done_callback(forget_failure)
        return answers

    async def _ask_unless_recorded(
        self, request_id: str, images: list[bytes], sender: Sender
    ) -> list[Answer]:
        try:
            async with self._earlier.claimed(request_id):
                known = await asyncio.to_thread(self._recorded, request_id, images)
                asked = self._inference.ask(request_id, images, known=known, sender=sender)
                return await awaited(asked)
        except (OSError, SQLAlchemyError) as error:
            raise Unavailable(f"earlier answers cannot be read ({error})") from error

    def _recorded(self, request_id: str, images: list[bytes]) -> dict[int, Answer]:
        """The answers that were given before, by the position of the image."""
        records = self._earlier.records(request_id, images)
        return {
            position: client_json(record.fields, self._card(record.fields["model"]))
            for position, record in records.items()
        }

    def _card(self, version: str) -> ModelCard:
        """The card of a model that answered before."""
        active = self.active
        for model in (active.model, active.challenger, active.front):
            if model is not None and model.version == version:
                return model.card
        if version not in self._cards:
            if self._follower is None:
                raise Unavailable(f"the request was answered by {version}, which is not here")
            self._cards[version] = self._follower.load(version).card
        return self._cards[version]

    def state(self) -> dict[str, Any]:
        """The state of this worker as JSON."""
        active = self.active
        model = active.model
        return {
            "model": model.version if model else None,
            "digest": model.sha256 if model else None,
            "release": active.release,
            "challenger": active.challenger.version if active.challenger else None,
            "mode": str(active.mode),
            "share": active.share,
            "front": active.front.version if active.front else None,
            "problem": active.problem,
            "halt": asdict(active.halt) if active.halt else None,
            "shadow": self._inference.shadow.status(),
            "classes": list(model.card.classes) if model else [],
            "needs_review_below": self._settings.needs_review_below,
            "threads": self._settings.threads,
            "answer_cache": self._inference.cache.status(),
            "runtime": self._runtimes.status(model),
            "cascade": cascade_status(active, self._inference.front_failure),
            "label_studio": self.backend.status(),
            "worker": os.getpid(),
            "uptime_seconds": round(time.monotonic() - self._began, 1),
        }

    def __is_ready__(self) -> bool:
        return self.active.model is not None

    @bentoml.on_deployment
    @staticmethod
    def check_before_serving() -> None:
        """Stop `bentoml serve` when its settings cannot work."""
        prepare_to_serve(_bento())

    @bentoml.on_shutdown
    def end(self) -> None:
        """End the threads after the waiting requests were answered."""
        if self._follower:
            self._follower.stop()
        self._runtimes.stop()
        self._inference.close()
        connections.Connection.predict = None


for layer, options in AROUND:
    cast(Any, Hone).add_asgi_middleware(layer, **options)
cast(Any, Hone).add_asgi_middleware(OwnRoutes, ours=app, routes=app.routes)


def _bento() -> Any:
    """The bento that is served; None when the code of a repository is served."""
    return cast(Any, Hone).bento


def _version() -> str:
    return str(bento.tag.version) if (bento := _bento()) else "none"
