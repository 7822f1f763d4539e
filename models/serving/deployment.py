"""What the service needs before it answers: its model, workspace, address and tokens."""

import atexit
import os
import shutil
import tempfile
from pathlib import Path
from typing import Any

import bentoml
import click
import psutil
from bentoml.models import BentoModel
from pydantic import SecretStr

from core.access import keep_others_out
from core.bucket import BucketImageStore
from core.database import connect
from core.http_access import refuse_open_address
from core.workspace import Workspace, load_workspace
from models.registry.bentoml_private import configured_host, configured_port
from models.registry.model_store import LoadedModel, read_model
from models.registry.releases import champion
from models.runtimes.background import RuntimeChooser
from models.runtimes.policy import Policy
from models.serving import staged_images
from models.serving.callbacks import rules_of
from models.serving.metrics import FOLDER as METRICS
from models.serving.release_follower import try_out
from models.serving.supervisor import name_supervisor, refuse_taken_port
from settings import Settings

TOKEN = "HONE_SERVICE_TOKEN"  # noqa: S105  (the name of a setting)
METRICS_NAME = "hone-metrics-"  # and the process id of the supervisor
OF_WORKERS = (  # settings that they need, perhaps from the .env of where the command was given
    "service_token", "backend_secret", "database_url", "image_bucket", "threads", "runtime",
    "needs_review_below", "request_pixels", "requests_per_minute", "callbacks",
    "callback_secret", "answer_cache",
)  # fmt: skip


class ReleasedModel(BentoModel):
    """The model that `bentoml build` adds to the bento: `--arg model=VERSION`, or the champion.

    It is resolved when a bento is built, not when this module is imported.
    """

    def to_info(self, alias: str | None = None) -> Any:
        """The entry of the bento's list of models."""
        settings = Settings()
        workspace = workspace_of(settings)
        if workspace is None:
            raise ValueError("HONE_WORKSPACE is not set: it names the workspace of the champion")
        asked = getattr(bentoml.use_arguments(), "model", None)
        version = asked or champion(connect(database_of(settings, workspace)))
        if version is None:
            raise ValueError(f"{workspace.root} has released no model yet: `hone retrain` does")
        model = BentoModel(version)
        if model.stored is None:
            raise ValueError(f"{version} is not here: set BENTOML_HOME={workspace.bento_home}")
        return model.to_info(alias)

    def resolve(self, base_path: Any = None, global_model_store: Any = None) -> None:
        """Do nothing: the service reads and checks its model itself."""


def prepare_to_serve(bento: Any) -> None:
    """Refuse settings that cannot work, and make relative folders absolute for the workers.

    They run in the folder of the code, not where the command was given.
    """
    name_supervisor()
    keep_others_out()
    settings = Settings()
    workspace = workspace_of(settings)
    if workspace is None and bento is None:
        raise ValueError("HONE_WORKSPACE is not set: it names the workspace to serve")
    if workspace is None:
        bundled_model(bento, settings.threads)
    else:
        os.environ["HONE_WORKSPACE"] = str(workspace.root)
    rules_of(settings.callbacks, plain(settings.callback_secret))
    root = settings.label_studio_document_root
    if root is not None:
        os.environ["LABEL_STUDIO_LOCAL_FILES_DOCUMENT_ROOT"] = str(root.resolve())
    tokens = {TOKEN: service_token(), "HONE_BACKEND_SECRET": plain(settings.backend_secret)}
    refuse_open_address(_bind_address(), tokens, needed=TOKEN)
    port = int(_given("port") or configured_port())
    refuse_taken_port(_bind_address(), port)
    os.environ.update(settings.variables(*OF_WORKERS))
    os.environ[METRICS] = _metrics_folder()
    os.environ["HONE_TRAFFIC"] = str(traffic_of(settings, workspace).resolve())


def _metrics_folder() -> str:
    """A new folder for the numbers of this service's workers, which goes when the service ends.

    In memory where the machine has such a place: a full disk would kill whoever writes a number.
    Folders of services that were killed go now.
    """
    shared = Path("/dev/shm")  # noqa: S108  (the new folder in it is ours alone)
    place = shared if os.access(shared, os.W_OK) else Path(tempfile.gettempdir())
    for left in place.glob(f"{METRICS_NAME}*"):
        pid = left.name.removeprefix(METRICS_NAME).partition("-")[0]
        if pid.isdigit() and not psutil.pid_exists(int(pid)):
            shutil.rmtree(left, ignore_errors=True)  # those of other users stay
    folder = tempfile.mkdtemp(prefix=f"{METRICS_NAME}{os.getpid()}-", dir=place)
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    return folder


def service_token() -> str | None:
    """What clients must show; None when anybody on this machine may ask."""
    return plain(Settings().service_token)


def _bind_address() -> str:
    """The address that this `bentoml serve` will listen on."""
    return str(_given("host") or configured_host())


def _given(option: str) -> Any:
    """An option of the command `bentoml serve`; None outside of it, or when it was not given."""
    context = click.get_current_context(silent=True)
    return context.params.get(option) if context else None


def bundled_model(bento: Any, threads: int) -> LoadedModel:
    """The model that the bento was built with."""
    [packed] = bento.info.all_models
    stored = bentoml.models.get(packed.tag)
    sha256 = str(stored.info.metadata["manifest_sha256"])
    model = read_model(Path(stored.path), str(packed.tag), sha256)
    try_out(model, threads=threads)
    return model


def plain(secret: SecretStr | None) -> str | None:
    """The text of the secret; None when it is not set."""
    return secret.get_secret_value() if secret else None


def workspace_of(settings: Settings) -> Workspace | None:
    """The workspace whose releases are served; None for a bento's own model."""
    return load_workspace(settings.workspace) if settings.workspace else None


def database_of(settings: Settings, workspace: Workspace) -> str:
    """The address of the workspace's database."""
    return settings.database_url.get_secret_value() if settings.database_url else workspace.database


def traffic_of(settings: Settings, workspace: Workspace | None) -> Path:
    """The folder of the segments: the workspace's, from which they are drained, or HONE_TRAFFIC."""
    return workspace.traffic if workspace else settings.traffic or Path("traffic")


def runtimes_of(settings: Settings, workspace: Workspace | None) -> RuntimeChooser:
    """What chooses the runtime of each model: in the workspace, or beside a bento's own traffic."""
    traffic = traffic_of(settings, workspace)
    return RuntimeChooser(
        workspace.runtimes if workspace else traffic / "runtimes",
        policy=Policy(settings.runtime),
        threads=settings.threads,
        traffic=traffic,
    )


def image_reader(settings: Settings, workspace: Workspace | None) -> staged_images.ReadImage:
    """The reader of the staged images, which the model may see for annotators."""
    if workspace is None:
        return staged_images.no_images
    if settings.image_bucket:
        return staged_images.object_images(BucketImageStore.at(settings.image_bucket))
    return staged_images.staged_folder_images(workspace.staged, settings.label_studio_document_root)
