"""The service: `POST /predict` answers images with labels, `GET /status` names the model.

Run it with `bentoml serve` in the repository, or from anywhere as a bento. With HONE_WORKSPACE it
follows that workspace's releases; without, it serves the model that its bento was built with.
"""

import asyncio
import os
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import bentoml
import click
import torch
from _bentoml_sdk.models import BentoModel, Model  # BentoML's reference to a model, to derive from
from bentoml._internal.configuration.containers import BentoMLContainer
from pydantic import SecretStr
from sqlalchemy.exc import SQLAlchemyError
from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Mount, Route

from core.access import keep_others_out
from core.bucket import BucketImageStore
from core.database import connect
from core.http_access import PAGE_POLICY, App, BearerGuard, SecurityHeaders, refuse_open_address
from core.workspace import Workspace, load_workspace
from models.registry.model_card import ModelCard
from models.registry.model_store import LoadedModel, read_model
from models.registry.versions import champion
from models.serving import connections, label_studio, staged_images
from models.serving.batcher import Inference, Unavailable, awaited, client_json
from models.serving.bodies import BODY_SECONDS, SECONDS, CompleteBodies
from models.serving.client_rates import ClientRates
from models.serving.decoders import Answer
from models.serving.earlier_answers import EarlierAnswers
from models.serving.release_follower import ActiveModel, ReleaseFollower, try_out
from models.serving.requests import (
    RequestError,
    digest_of,
    new_request_id,
    read_images,
    request_id_of,
)
from models.serving.segments import SegmentWriter
from models.serving.supervisor import end_with_supervisor, name_supervisor, refuse_taken_port
from settings import Settings

TOKEN = "HONE_SERVICE_TOKEN"  # noqa: S105  (the name of a setting)
OF_WORKERS = (  # settings that they need, perhaps from the .env of where the command was given
    "service_token", "backend_secret", "database_url", "image_bucket", "threads",
    "needs_review_below", "request_pixels", "requests_per_minute",
)  # fmt: skip
REMEMBERED = 512  # requests whose answers a worker stores for retries


async def predict(request: Request) -> Response:
    """Predictions for the images of a form, in order: 200 if any image was good, else 400.

    A bad image has an `error` in place of a prediction. A request repeated under its
    `X-Request-ID` gets the same answer; other images under that id get 409.
    """
    hone: Hone = request.app.state.hone
    try:
        given = request_id_of(request)
        files = await read_images(request)
        request_id = given or new_request_id()
        images = [content for _, content in files]
        answers = await (hone.ask_once(given, images) if given else hone.ask(request_id, images))
    except RequestError as problem:
        return problem.response()
    except Unavailable as error:
        return RequestError(503, "UNAVAILABLE", str(error), retry_after=1).response()
    shown = [{"file": name, **answer} for (name, _), answer in zip(files, answers, strict=True)]
    return JSONResponse(
        {"request_id": request_id, "predictions": shown},
        200 if any("label" in answer for answer in answers) else 400,
        {"X-Request-ID": request_id},
    )


async def status(request: Request) -> Response:
    """The model that answers, and the problem that keeps a newer release from being served."""
    return JSONResponse(request.app.state.hone.status())


async def report_failure(request: Request, error: Exception) -> Response:
    """500 with a reason for an error that no rule foresaw; the server logs its traceback."""
    detail = f"{type(error).__name__} in the service; its log has the traceback"
    return RequestError(500, "INTERNAL_ERROR", detail).response()


def _bounded_clients(app: App) -> ClientRates:
    return ClientRates(app, Settings().requests_per_minute)


# Both spellings, and at the root: Starlette would answer the other spelling with a redirect.
app = Starlette(
    routes=[
        *(Route(path, predict, methods=["POST"]) for path in ("/predict", "/predict/")),
        *(Route(path, status, methods=["GET"]) for path in ("/status", "/status/")),
        Mount("/label-studio", routes=label_studio.ROUTES),
    ],
    middleware=[Middleware(_bounded_clients), Middleware(CompleteBodies)],
    exception_handlers={Exception: report_failure},
)
connections.register()


class ReleasedModel(Model[None]):
    """The model that `bentoml build` adds to the bento: `--arg model=VERSION`, or the champion.

    It is resolved when a bento is built, not when this module is imported.
    """

    def to_info(self, alias: str | None = None) -> Any:
        """The entry of the bento's list of models."""
        settings = Settings()
        workspace = _workspace(settings)
        if workspace is None:
            raise ValueError("HONE_WORKSPACE is not set: it names the workspace of the champion")
        asked = getattr(bentoml.use_arguments(), "model", None)
        version = asked or champion(connect(_database(settings, workspace)))
        if version is None:
            raise ValueError(f"{workspace.root} has released no model yet: `hone retrain` does")
        model = BentoModel(version)
        if model.stored is None:
            raise ValueError(f"{version} is not here: set BENTOML_HOME={workspace.bento_home}")
        return model.to_info(alias)

    @classmethod
    def from_info(cls, info: Any) -> "ReleasedModel":
        """A reference to the model of the bento."""
        return cls()

    def to_create_schema(self) -> Any:
        """Refused: a bento is pushed with the models in its list, by their tags."""
        raise NotImplementedError("push the model by its tag")

    def resolve(self, base_path: Any = None) -> None:
        """Do nothing: the service reads and checks its model itself."""


@dataclass
class _Asked:
    """A request under an id of its client's."""

    digest: str  # of its images
    answers: "asyncio.Future[list[Answer]]"
    awaited_by: int = 0


@bentoml.service(
    name="hone",
    http={"host": "127.0.0.1"},  # `--host` opens it to others, who need HONE_SERVICE_TOKEN
    # BentoML would count the time and the place of a request from its first byte on: see bodies.py.
    traffic={"timeout": BODY_SECONDS + 2 * SECONDS},
    logging={"access": {"enabled": False}},  # the prediction store is the log
    envs=[{"name": "OTEL_SDK_DISABLED", "value": "true"}],  # tracing takes a quarter of a request
)
@bentoml.asgi_app(app, path="/")
class Hone:
    """Labels for images: POST /predict, a form with files in the field `images`."""

    released = ReleasedModel()

    def __init__(self) -> None:
        end_with_supervisor()
        keep_others_out()
        settings = Settings()
        torch.set_num_threads(settings.threads)
        self._began = time.monotonic()
        self._settings = settings
        self._follower: ReleaseFollower | None = None
        workspace = _workspace(settings)
        if workspace is None:
            self._alone = ActiveModel(_bundled(settings.threads))
        else:
            engine = connect(_database(settings, workspace))
            self._follower = ReleaseFollower(engine, workspace.bento_home, threads=settings.threads)
            self._follower.start()
        self._writer = SegmentWriter(_traffic(settings, workspace))
        self._inference = Inference(
            lambda: self.active,
            self._writer,
            needs_review_below=settings.needs_review_below,
            threads=settings.threads,
            request_pixels=settings.request_pixels,
        )
        self.backend = label_studio.Backend(
            self._inference,
            lambda: self.active,
            read_image=_images(settings, workspace),
            secret=_plain(settings.backend_secret),
        )
        self._earlier = EarlierAnswers(self._writer.folder)
        self._earlier.read_in_background()
        self._cards: dict[str, ModelCard] = {}  # of models that answered, and do no more
        self._asked: dict[str, _Asked] = {}  # oldest first
        app.state.hone = self

    @property
    def active(self) -> ActiveModel:
        """The model that answers now."""
        return self._follower.active if self._follower else self._alone

    async def ask(self, request_id: str, images: list[bytes]) -> list[Answer]:
        """An answer for each image, recorded on disk before it is returned.

        Cancelling it stops the work on the images.
        """
        return await awaited(self._inference.ask(request_id, images))

    async def ask_once(self, request_id: str, images: list[bytes]) -> list[Answer]:
        """The answers of `ask`, computed once for each request id, whichever worker gets it.

        The work stops when the last request that awaits it is cancelled.
        """
        digest = await asyncio.to_thread(digest_of, images)
        known = self._asked.get(request_id)
        if known is None:
            known = self._asked[request_id] = _Asked(digest, self._begin(request_id, images))
            if len(self._asked) > REMEMBERED:  # one in progress would be computed twice
                ended = (name for name, one in self._asked.items() if one.answers.done())
                self._asked.pop(next(ended, ""), None)
        if known.digest != digest:
            raise RequestError(
                409, "REQUEST_ID_REUSED", f"X-Request-ID {request_id} came with other images before"
            )
        known.awaited_by += 1
        try:
            return await asyncio.shield(known.answers)
        except asyncio.CancelledError:
            if known.awaited_by == 1:
                known.answers.cancel()
            raise
        finally:
            known.awaited_by -= 1

    def _begin(self, request_id: str, images: list[bytes]) -> "asyncio.Future[list[Answer]]":
        def forget_failure(done: "asyncio.Future[list[Answer]]") -> None:
            if done.cancelled() or done.exception():
                self._asked.pop(request_id, None)  # a retry asks anew

        answers = asyncio.ensure_future(self._ask_unless_recorded(request_id, images))
        answers.add_done_callback(forget_failure)
        return answers

    async def _ask_unless_recorded(self, request_id: str, images: list[bytes]) -> list[Answer]:
        try:
            async with self._earlier.claimed(request_id):
                known = await asyncio.to_thread(self._recorded, request_id, images)
                return await awaited(self._inference.ask(request_id, images, known=known))
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
        active = self.active.model
        if active is not None and active.version == version:
            return active.card
        if version not in self._cards:
            if self._follower is None:
                raise Unavailable(f"the request was answered by {version}, which is not here")
            self._cards[version] = self._follower.load(version).card
        return self._cards[version]

    def status(self) -> dict[str, Any]:
        """The state of this worker as JSON."""
        active = self.active
        model = active.model
        return {
            "model": model.version if model else None,
            "digest": model.sha256 if model else None,
            "release": active.release,
            "problem": active.problem,
            "classes": list(model.card.classes) if model else [],
            "needs_review_below": self._settings.needs_review_below,
            "threads": self._settings.threads,
            "label_studio": self.backend.status(),
            "worker": os.getpid(),
            "uptime_seconds": round(time.monotonic() - self._began, 1),
        }

    def __is_ready__(self) -> bool:
        return self.active.model is not None

    @bentoml.on_deployment
    @staticmethod
    def check_before_serving() -> None:
        """Stop `bentoml serve` when its settings cannot work, and make relative folders absolute.

        BentoML's workers run in the folder of the code, not where the command was given.
        """
        name_supervisor()
        keep_others_out()
        settings = Settings()
        workspace = _workspace(settings)
        if workspace is None and _bento() is None:
            raise ValueError("HONE_WORKSPACE is not set: it names the workspace to serve")
        if workspace is None:
            _bundled(settings.threads)
        else:
            os.environ["HONE_WORKSPACE"] = str(workspace.root)
        root = settings.label_studio_document_root
        if root is not None:
            os.environ["LABEL_STUDIO_LOCAL_FILES_DOCUMENT_ROOT"] = str(root.resolve())
        tokens = {TOKEN: _token(), "HONE_BACKEND_SECRET": _plain(settings.backend_secret)}
        refuse_open_address(_bind_address(), tokens, needed=TOKEN)
        port = int(_given("port") or BentoMLContainer.http.port.get())
        refuse_taken_port(_bind_address(), port)
        os.environ.update(settings.variables(*OF_WORKERS))
        os.environ["HONE_TRAFFIC"] = str(_traffic(settings, workspace).resolve())

    @bentoml.on_shutdown
    def end(self) -> None:
        """End the threads after the waiting requests were answered."""
        if self._follower:
            self._follower.stop()
        self._inference.close()


def _token() -> str | None:
    return _plain(Settings().service_token)


# Around all that BentoML serves: ours, its metrics and its pages about the API.
cast(Any, Hone).add_asgi_middleware(SecurityHeaders, policy=PAGE_POLICY)
cast(Any, Hone).add_asgi_middleware(
    BearerGuard, name=TOKEN, token=_token, open_below="/label-studio/"
)


def _bind_address() -> str:
    """The address that this `bentoml serve` will listen on."""
    return str(_given("host") or _configured_address())


def _given(option: str) -> Any:
    """An option of the command `bentoml serve`; None outside of it, or when it was not given."""
    context = click.get_current_context(silent=True)
    return context.params.get(option) if context else None


def _configured_address() -> str:
    return str(BentoMLContainer.http.host.get())


def _bento() -> Any:
    """The bento that is served; None when the code of a repository is served."""
    return cast(Any, Hone).bento


def _bundled(threads: int) -> LoadedModel:
    """The model that this bento was built with."""
    [packed] = _bento().info.all_models
    stored = bentoml.models.get(packed.tag)
    sha256 = str(stored.info.metadata["manifest_sha256"])
    model = read_model(Path(stored.path), str(packed.tag), sha256)
    try_out(model, threads=threads)
    return model


def _plain(secret: SecretStr | None) -> str | None:
    return secret.get_secret_value() if secret else None


def _workspace(settings: Settings) -> Workspace | None:
    return load_workspace(settings.workspace) if settings.workspace else None


def _database(settings: Settings, workspace: Workspace) -> str:
    return settings.database_url.get_secret_value() if settings.database_url else workspace.database


def _traffic(settings: Settings, workspace: Workspace | None) -> Path:
    """The folder of the segments: the workspace's, from which they are drained, or HONE_TRAFFIC."""
    return workspace.traffic if workspace else settings.traffic or Path("traffic")


def _images(settings: Settings, workspace: Workspace | None) -> staged_images.ReadImage:
    """The reader of the staged images, which the model may see for annotators."""
    if workspace is None:
        return staged_images.no_images
    if settings.image_bucket:
        return staged_images.object_images(BucketImageStore.at(settings.image_bucket))
    return staged_images.staged_folder_images(workspace.staged, settings.label_studio_document_root)
