"""Label Studio: batches go out exactly once, answers come back with nothing lost.

Needs one writer per project (the caller's lock): the server has no unique key on its tasks.
"""

import fcntl
import json
import os
import uuid
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pandas as pd

from ground.files import write_whole
from ground.workspace import Workspace
from labeling import studio_wire as wire
from labeling.studio_words import check_address, plain_words

if TYPE_CHECKING:
    from label_studio_sdk import LabelStudio

IMAGES = "images"  # folder on the desk; Label Studio shows nothing that lies at its document root
NOTE = "label-studio.json"  # in the workspace: which project is ours
SECONDS = 60.0  # how long one answer of the server is waited for
BATCH = 500  # tasks in one import; 500 to 1,000 is fastest
KEYS = 100  # sample ids in one look-up: more do not fit in an address
PAGE = 500  # tasks in one reading
ALL = 10_000  # more tasks than one look-up can find
OVERLAP = 5.0  # seconds read again: an answer may be committed later than its time stamp says
TRIES = 3  # of one import whose outcome is unknown
# What is asked for of a task; asking for everything takes five times as long.
TASK = "id,data,updated_at,total_annotations,cancelled_annotations"
# The server looks into this list for a task's fields and for those of its annotations alike.
ANSWERED_TASK = f"{TASK},annotations,completed_by,result,was_cancelled,ground_truth,lead_time"


@contextmanager
def connect(url: str, api_key: str) -> Iterator["Studio"]:
    """Label Studio at `url`, reached with a personal access token or a legacy token.

    Whatever goes wrong in the block leaves it as one sentence: a `ValueError` for what somebody
    must correct, a `ConnectionError` for what may be over at the next try. None has the token.
    """
    check_address(url, api_key)
    import httpx
    from label_studio_sdk import LabelStudio

    # The client asks at most once: what it repeats by itself, a POST too, the server does twice.
    with plain_words(url, api_key), httpx.Client(timeout=SECONDS, follow_redirects=False) as line:
        client = LabelStudio(
            base_url=f"{url.rstrip('/')}/", api_key=api_key, httpx_client=line,
            timeout=SECONDS, max_retries=0,
        )  # fmt: skip
        _greet(client, url)
        yield Studio(client, url)


class Studio:
    """A connected Label Studio; `project` says which project everything else is about."""

    def __init__(self, client: "LabelStudio", url: str) -> None:
        self.client: Any = client  # its types deny fields that the server sends
        self.url = url
        self._project: int | None = None
        self._classes: list[str] = []

    @property
    def project_id(self) -> int:
        """The project in use."""
        if self._project is None:
            raise ValueError("no project is in use yet; call project(workspace) first")
        return self._project

    @property
    def source(self) -> str:
        """The name under which the ledger keeps this project's answers."""
        return f"label-studio:{self.project_id}"

    def project(self, workspace: Workspace) -> int:
        """Use the workspace's project, made if there is none yet; return its id.

        Idempotent, also when two processes are the first at once. The project is known by the id
        and the mark in the workspace's note: a stranger's that took over the id is not written to.
        """
        with _alone(workspace.desk):
            note = _Note(workspace.root / NOTE)
            found = self._known(note) if note.project else self._marked(note.mark)
            if found is None:
                found = self.client.projects.create(
                    title=wire.project_title(workspace.title),
                    description=wire.project_description(workspace.purpose, note.mark),
                    label_config=wire.label_config(workspace.classes),
                    sampling="Uncertainty sampling",
                )
            note.remember(int(found.id))
            self._project, self._classes = int(found.id), workspace.class_names
            self._show_classes(workspace, found)
            self._open_folder(workspace.desk / IMAGES)
        return self.project_id

    def present(self, sample_ids: Sequence[str]) -> dict[str, int]:
        """The newest task of each of these samples that has one."""
        found = self._find(sample_ids)
        return {wire.sample_of(task) or "": task["id"] for task in sorted(found, key=_number)}

    def assign(self, batch: pd.DataFrame) -> dict[str, int]:
        """Put a round's batch before the annotators; return each sample's task.

        `batch` has sample_id, file (below the document root), guess, confidence, guess_model,
        round_id and perhaps reason. Idempotent: a sample has one task in a round, whatever was
        sent before and however it ended. What an earlier round left unanswered makes room.
        """
        tasks = wire.tasks_of(batch, self._classes)
        there = self._tidy(tasks)
        missing = [task for task in tasks if _sample(task) not in there]
        for start in range(0, len(missing), BATCH):
            there |= self._send(missing[start : start + BATCH])
        model = wire.guess_model(batch)
        if model is not None:  # or its guesses would not be sorted by, and nobody would be told
            self.client.projects.update(self.project_id, model_version=model)
        return {_sample(task): there[_sample(task)] for task in tasks}

    def answers_since(self, watermark: str | None) -> wire.Collected:
        """Every answer to the samples that changed since `watermark` (None: to all samples).

        Hand the new watermark in next time. Reading again what is known does no harm.
        """
        since = watermark and wire.earlier(watermark, OVERLAP)
        tasks = {task["id"]: task for task in self._changed(since)}
        latest = max((task["updated_at"] for task in tasks.values()), default=None)
        if since is not None:  # answers to the same sample may stand on a task that did not change
            mine = {known for task in tasks.values() if (known := wire.sample_of(task))}
            others = {_sample(task) for task in self._find(sorted(mine)) if task["id"] not in tasks}
            tasks |= {task["id"]: task for task in self._find(sorted(others), ANSWERED_TASK)}
        return wire.collect(
            tasks.values(),
            source=self.source,
            users={user.id: user.email for user in self.client.users.list()},
            classes=self._classes,
            watermark=max(filter(None, [watermark, latest]), default=None),
        )

    def withdraw(self, sample_ids: Sequence[str]) -> set[str]:
        """Take away the unanswered tasks of these samples; return those that have none left."""
        spare = [task["id"] for task in self._find(sample_ids) if not _answered(task)]
        self._delete(spare)
        return set(sample_ids) - set(self.present(sample_ids))

    def _known(self, note: "_Note") -> Any:
        from label_studio_sdk.core.api_error import ApiError

        remedy = (
            f"if that is meant, remove {note.path} and the next round starts a new project; "
            "if not, bring the server's database back"
        )
        try:
            found = self.client.projects.get(note.project)
        except ApiError as error:
            if error.status_code != 404:
                raise
            raise ValueError(
                f"Label Studio at {self.url} has no project {note.project} any more, the one this "
                f"workspace's batches went to: it was deleted, or this is another server; {remedy}"
            ) from error
        if note.mark not in (found.description or ""):
            raise ValueError(
                f"project {note.project} at {self.url} is not this workspace's: its description "
                f"lacks the line with {note.mark}; put it back if somebody removed it; {remedy}"
            )
        return found

    def _marked(self, mark: str) -> Any:
        """The project with our mark, if a run was killed between making and remembering it."""
        every = self.client.projects.list(include="id,description", page_size=1000)
        ours = [found.id for found in every if mark in (found.description or "")]
        return self.client.projects.get(min(ours)) if ours else None

    def _show_classes(self, workspace: Workspace, found: Any) -> None:
        config = wire.label_config(workspace.classes)
        if found.label_config == config:
            return
        shown = (found.parsed_label_config or {}).get(wire.CONTROL, {}).get("labels", [])
        removed = set(shown) - set(workspace.class_names)
        used = removed & wire.names_chosen(self._changed(None)) if removed else set()
        if used:
            raise ValueError(
                f"the class {sorted(used)[0]!r} is gone from hone.toml, but annotators chose it in "
                f"project {self.project_id} at {self.url}; put it back, or start a new project by "
                f"removing {workspace.root / NOTE}"
            )
        self.client.projects.update(self.project_id, label_config=config)

    def _open_folder(self, folder: Path) -> None:
        """Let the project show the images in `folder`, and nothing else."""
        folder.mkdir(parents=True, exist_ok=True)
        local = self.client.import_storage.local
        if str(folder) not in {storage.path for storage in local.list(project=self.project_id)}:
            local.create(
                project=self.project_id, path=str(folder), title="desk", use_blob_urls=True
            )

    def _send(self, tasks: list[dict[str, Any]]) -> dict[str, int]:
        """Import tasks that are not there; after an unknown outcome look, and send the rest."""
        import httpx
        from label_studio_sdk.core.api_error import ApiError

        missing = tasks
        for tries in range(1, TRIES + 1):
            try:
                sent = self.client.projects.import_tasks(
                    self.project_id, request=missing, return_task_ids=True
                )
                if tries == 1:
                    return dict(zip(map(_sample, tasks), sent.task_ids, strict=True))
            except (httpx.TransportError, ApiError) as error:
                if tries == TRIES or (isinstance(error, ApiError) and _nothing_stored(error)):
                    raise
            # Looks also after a success: the import given up before may have ended with this one.
            there = self._tidy(tasks)
            missing = [task for task in tasks if _sample(task) not in there]
            if not missing:
                return there
        raise ConnectionError(
            f"Label Studio at {self.url} took {len(missing)} tasks {TRIES} times and does not have "
            "them; look into its log"
        )

    def _tidy(self, tasks: list[dict[str, Any]]) -> dict[str, int]:
        """Which of these are there already, and as what; each sample's spare tasks are removed.

        Spare is what nobody answered and is either of another round or there twice: an import that
        the server finished after we had stopped waiting for it.
        """
        rounds = {_sample(task): task["data"]["round"] for task in tasks}
        kept: dict[str, int] = {}
        spare: list[int] = []
        # Answered ones first, so that those are kept.
        for task in sorted(self._find(list(rounds)), key=lambda t: (not _answered(t), t["id"])):
            ours = task["data"].get("round") == rounds[_sample(task)]
            if ours and _sample(task) not in kept:
                kept[_sample(task)] = task["id"]
            elif not _answered(task):
                spare.append(task["id"])
        self._delete(spare)
        return kept

    def _delete(self, task_ids: list[int]) -> None:
        """Delete tasks, those excepted that somebody answered meanwhile."""
        for start in range(0, len(task_ids), BATCH):
            self.client.actions.create(
                id="delete_tasks",
                project=self.project_id,
                filters={"conjunction": "and", "items": wire.without_answers()},
                selected_items={"all": False, "included": task_ids[start : start + BATCH]},
            )

    def _find(self, sample_ids: Sequence[str], fields: str = TASK) -> list[dict[str, Any]]:
        """Every task of these samples."""
        groups = (sample_ids[start : start + KEYS] for start in range(0, len(sample_ids), KEYS))
        asked = (wire.query(wire.of_samples(keys)) for keys in groups)
        return [task for query in asked for task in self._read(query, ALL, fields)]

    def _changed(self, since: str | None) -> Iterator[dict[str, Any]]:
        """Tasks in the order of their last change, from `since` on; one may come twice.

        Each reading starts at the moment where the one before ended. Numbered pages would skip
        tasks that live when others are deleted between two pages.
        """
        size = PAGE
        while True:
            filters = [wire.changed_since(since)] if since else []
            query = wire.query(*filters, order="tasks:updated_at")
            page = self._read(query, size, ANSWERED_TASK)
            yield from page
            if len(page) < size:
                return
            size = size * 2 if page[-1]["updated_at"] == since else PAGE
            since = page[-1]["updated_at"]

    def _read(self, query: str, size: int, fields: str) -> list[dict[str, Any]]:
        page = self.client.tasks.list(
            project=self.project_id,
            query=query,
            include=fields,
            fields="all",
            page=1,
            page_size=size,
        )
        return [
            {
                "id": task.id,
                "data": task.data or {},
                "updated_at": wire.as_text(task.updated_at),
                "answers": (task.total_annotations or 0) + (task.cancelled_annotations or 0),
                "annotations": task.annotations or [],
            }
            for task in page.items or []
        ]


def _greet(client: "LabelStudio", url: str) -> None:
    """Make sure that this is a Label Studio which knows our token."""
    try:
        known = getattr(client.users.whoami(), "email", None)
    except json.JSONDecodeError:  # from exchanging the token: the client expects JSON there
        known = None
    if not known:
        raise ValueError(f"{url} answers, but not as Label Studio does; check LABEL_STUDIO_URL")


@contextmanager
def _alone(folder: Path) -> Iterator[None]:
    """One process at a time, by a lock on the folder that a dead one cannot leave behind."""
    folder.mkdir(parents=True, exist_ok=True)
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)


class _Note:
    """Which project is the workspace's: its mark before it is made, its id afterwards."""

    def __init__(self, path: Path) -> None:
        self.path = path
        if not path.exists():
            self._write(f"hone-{uuid.uuid4()}", None)
        found = json.loads(path.read_text())
        self.mark, self.project = str(found["mark"]), found["project"]

    def remember(self, project: int) -> None:
        """Keep the project's id."""
        if self.project != project:
            self._write(self.mark, project)
            self.project = project

    def _write(self, mark: str, project: int | None) -> None:
        write_whole(self.path, json.dumps({"mark": mark, "project": project}).encode())


def _sample(task: dict[str, Any]) -> str:
    return str(wire.sample_of(task))


def _number(task: dict[str, Any]) -> int:
    return int(task["id"])


def _answered(task: dict[str, Any]) -> bool:
    return bool(task["answers"])


def _nothing_stored(error: Any) -> bool:
    """Whether the server said no and stored nothing; a proxy's time-out (408) says neither."""
    return 400 <= (error.status_code or 0) < 500 and error.status_code != 408
