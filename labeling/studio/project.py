"""The one project of a workspace in Label Studio: found or made, its screen, its instructions."""

import fcntl
import json
import os
import uuid
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from core.bucket import BucketImageStore
from core.files import write_atomically
from core.text import short
from core.workspace import Workspace
from labeling.kinds import KINDS
from labeling.studio import protocol as wire
from labeling.studio.errors import detail

IMAGES = (
    "images"  # folder of staged images; Label Studio shows nothing that lies at its document root
)
PROJECT_FILE = "label-studio.json"  # in the workspace: which project is ours

Examples = Mapping[str, Sequence[str]]  # of a class: image files below the document root


def find_or_create(client: Any, url: str, workspace: Workspace) -> Any:
    """The workspace's project, made if there is none yet.

    It is known by the id and the mark in the workspace's note: a stranger's that took over the id
    is not written to. The caller holds `folder_lock(workspace.staged)`.
    """
    note = _Note(workspace.root / PROJECT_FILE)
    project = _known(client, url, note) if note.project else _marked(client, note.mark)
    if project is None:
        project = client.projects.create(
            title=wire.project_title(workspace.title),
            description=wire.project_description(workspace.purpose, note.mark),
            label_config=KINDS[workspace.kind].screen(workspace.classes),
            expert_instruction=wire.instructions(workspace.purpose, workspace.classes, {}),
            show_instruction=True,
            sampling="Uncertainty sampling",
        )
    note.remember(int(project.id))
    return project


def update_screen(
    client: Any, url: str, project: Any, workspace: Workspace, chosen: Callable[[], set[str]]
) -> None:
    """Let the project have the screen of `hone.toml`; a class in `chosen` cannot leave it."""
    kind = KINDS[workspace.kind]
    config = kind.screen(workspace.classes)
    if project.label_config == config:
        return
    removed = kind.classes_on_screen(project.parsed_label_config or {}) - set(workspace.class_names)
    used = removed & chosen() if removed else set()
    if used:
        raise ValueError(
            f"the class {sorted(used)[0]!r} is gone from hone.toml, but annotators chose it in "
            f"project {project.id} at {url}; put it back, or start a new project by removing "
            f"{workspace.root / PROJECT_FILE}"
        )
    client.projects.update(project.id, label_config=config)


def update_instructions(
    client: Any, project: Any, workspace: Workspace, examples: Examples
) -> None:
    """Let the project explain its classes, by a line and by example images."""
    text = wire.instructions(workspace.purpose, workspace.classes, examples)
    if project.expert_instruction != text or not project.show_instruction:
        client.projects.update(project.id, expert_instruction=text, show_instruction=True)


def connect_folder(client: Any, project: int, folder: Path) -> None:
    """Let the project show the images in `folder`, and nothing else."""
    from label_studio_sdk.core.api_error import ApiError

    folder.mkdir(parents=True, exist_ok=True)
    local = client.import_storage.local
    if str(folder) in {storage.path for storage in local.list(project=project)}:
        return
    try:
        local.create(project=project, path=str(folder), title="staged images", use_blob_urls=True)
    except ApiError as error:
        if error.status_code != 400:
            raise
        raise ValueError(
            f"Label Studio may not show {folder} ({detail(error.body)}); start it with "
            f"LABEL_STUDIO_LOCAL_FILES_DOCUMENT_ROOT={folder.parent}, or a folder above it, and "
            "set the same for Hone"
        ) from error


def check_image_is_served(client: Any, file: str) -> None:
    """Refuse to go on where the server does not show the image that a task would name."""
    line = client._client_wrapper.httpx_client  # carries the token; the SDK has no call for files
    response = line.request(wire.address_of(file).lstrip("/"), method="GET")
    if response.status_code == 200:
        return
    if response.status_code == 403:
        raise ValueError(
            "Label Studio shows no files of this machine; start it with "
            "LABEL_STUDIO_LOCAL_FILES_SERVING_ENABLED=true, or set HONE_IMAGE_BUCKET to an "
            "object store"
        )
    raise ValueError(
        f"Label Studio does not find the image {file} below its document root (status "
        f"{response.status_code}), so annotators would see none; set "
        "LABEL_STUDIO_LOCAL_FILES_DOCUMENT_ROOT to the same folder for Label Studio and for Hone"
    )


def connect_bucket(client: Any, project: int, bucket: BucketImageStore) -> None:
    """Let the project show the images in an object store, by addresses that expire."""
    bucket.open()
    storage = client.import_storage.s3
    wanted = {
        "title": "staged images",
        "bucket": bucket.bucket,
        "prefix": bucket.prefix,
        "use_blob_urls": True,
        "presign": True,
        "presign_ttl": 60,  # minutes: as long as somebody may look at one image
        **bucket.access(),
    }
    there = {(stored.bucket, stored.prefix): stored.id for stored in storage.list(project=project)}
    known = there.get((bucket.bucket, bucket.prefix))
    with _reached(bucket):
        if known is not None:
            storage.update(known, project=project, **wanted)  # the keys may be new
        else:
            storage.create(project=project, **wanted)


@contextmanager
def folder_lock(folder: Path) -> Iterator[None]:
    """One process at a time, by a lock on the folder that a dead one cannot leave behind."""
    folder.mkdir(parents=True, exist_ok=True)
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)


@contextmanager
def _reached(bucket: BucketImageStore) -> Iterator[None]:
    """Say in one sentence why Label Studio does not get at the bucket that we just wrote to.

    It tries when told of a storage, and answers 500 for most of what can be wrong with one.
    """
    from label_studio_sdk.core.api_error import ApiError

    try:
        yield
    except ApiError as error:
        reason = detail(error.body)
        if "network address" in reason:
            raise ValueError(
                f"Label Studio calls no local or private address, and HONE_IMAGE_BUCKET "
                f"{bucket.address()} "
                f"lies at {bucket.access().get('s3endpoint')}; start it with "
                "LABEL_STUDIO_USE_DEFAULT_BANNED_SUBNETS=false and "
                "LABEL_STUDIO_USER_ADDITIONAL_BANNED_SUBNETS=<the networks it still must not call>"
            ) from error
        if error.status_code not in {400, 500}:
            raise
        raise ValueError(
            f"Label Studio does not get at HONE_IMAGE_BUCKET {bucket.address()}, though Hone "
            f"does ({reason}); "
            "see that AWS_ENDPOINT_URL is an address that holds on its machine too, and that the "
            "keys may list there; its log says more"
        ) from error


def _known(client: Any, url: str, note: "_Note") -> Any:
    from label_studio_sdk.core.api_error import ApiError

    remedy = (
        f"if that is meant, remove {note.path} and the next round starts a new project; "
        "if not, bring the server's database back"
    )
    try:
        project = client.projects.get(note.project)
    except ApiError as error:
        if error.status_code != 404:
            raise
        raise ValueError(
            f"Label Studio at {url} has no project {note.project} any more, the one this "
            f"workspace's batches went to: it was deleted, or this is another server; {remedy}"
        ) from error
    if note.mark not in (project.description or ""):
        raise ValueError(
            f"project {note.project} at {url} is not this workspace's: its description "
            f"lacks the line with {note.mark}; put it back if somebody removed it; {remedy}"
        )
    return project


def _marked(client: Any, mark: str) -> Any:
    """The project with our mark, if a run was killed between making and remembering it."""
    every = client.projects.list(include="id,description", page_size=1000)
    ours = [project.id for project in every if mark in (project.description or "")]
    return client.projects.get(min(ours)) if ours else None


class _Note:
    """Which project is the workspace's: its mark before it is made, its id afterwards."""

    def __init__(self, path: Path) -> None:
        self.path = path
        if not path.exists():
            self._write(f"hone-{uuid.uuid4()}", None)
        try:
            content = json.loads(path.read_bytes())
            self.mark, self.project = content["mark"], content["project"]
        except (ValueError, TypeError, LookupError, RecursionError) as error:
            raise self._damaged(str(error)) from error
        if not isinstance(self.mark, str) or type(self.project) not in (int, type(None)):
            raise self._damaged(f"mark {short(self.mark)}, project {short(self.project)}")

    def _damaged(self, cause: str) -> ValueError:
        return ValueError(
            f"{self.path} is damaged ({cause}); restore it from a backup: it says which project of "
            "Label Studio's is the workspace's"
        )

    def remember(self, project: int) -> None:
        """Keep the project's id."""
        if self.project != project:
            self._write(self.mark, project)
            self.project = project

    def _write(self, mark: str, project: int | None) -> None:
        write_atomically(self.path, json.dumps({"mark": mark, "project": project}).encode())
