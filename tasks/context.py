"""The workspace a run is about: its settings, its `hone.toml` and its database, opened together."""

from dataclasses import dataclass
from functools import cache, cached_property
from pathlib import Path
from typing import TYPE_CHECKING

from sqlalchemy import Engine

from core.access import keep_others_out
from core.bucket import BucketImageStore
from core.database import connect, upgrade
from core.dvc_config import use_private_site_cache
from core.workspace import Workspace, load_workspace
from settings import Settings
from tasks.policies import Policies, load_policies

if TYPE_CHECKING:
    from models.watching.channels import Channel


@dataclass(frozen=True)
class Context:
    """Everything a task needs to know about where it works."""

    settings: Settings
    workspace: Workspace
    engine: Engine

    @cached_property
    def policies(self) -> Policies:
        """What decides in this workspace, from `hone.toml`."""
        return load_policies(self.workspace)

    @cached_property
    def image_bucket(self) -> BucketImageStore | None:
        """Where annotators' images lie in an object store; None if they lie in the workspace."""
        return (
            BucketImageStore.at(self.settings.image_bucket) if self.settings.image_bucket else None
        )


def open_context() -> Context:
    """The workspace that `HONE_WORKSPACE` names, its database at the newest schema."""
    keep_others_out()
    settings = Settings()
    workspace = load_workspace(workspace_folder())
    if settings.database_url is None:
        _refuse_lost_database(workspace)
    url = settings.database_url.get_secret_value() if settings.database_url else workspace.database
    use_private_site_cache(workspace.root)  # also of a workspace made by an earlier version
    load_policies(workspace)  # an unsound policy stops every command, not only the one it is for
    return Context(settings, workspace, _engine(url, workspace.journal_head))


def alert_channels(settings: Settings) -> "list[Channel]":
    """The channels that HONE_ALERTS names."""
    from models.watching.channels import channels_of

    return channels_of(settings.alerts.get_secret_value()) if settings.alerts else []


def workspace_folder() -> Path:
    """The folder that `HONE_WORKSPACE` names, or where the command was started."""
    return Settings().workspace or Path.cwd()


def _refuse_lost_database(workspace: Workspace) -> None:
    """A workspace that was used has a database: an empty one in its place would forget it all."""
    database = workspace.root / "hone.sqlite"
    if database.exists() and database.stat().st_size:
        return
    used = [path for path in (workspace.shards, workspace.bento_home / "models") if path.is_dir()]
    if any(next(folder.iterdir(), None) is not None for folder in used):
        raise ValueError(
            f"{database} is missing or empty, but {used[0]} is in use: restore the "
            "database from a backup; to start anew, make another workspace with `hone init`"
        )


@cache
def _engine(url: str, head_file: Path) -> Engine:
    """One pool of connections a process and address; the schema is brought up to date once."""
    engine = connect(url, head_file)
    upgrade(engine)
    return engine
