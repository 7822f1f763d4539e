"""Label Studio: batches go out exactly once, answers come back with nothing lost.

Needs one writer per project (the caller's lock): the server has no unique key on its tasks.
"""

from collections.abc import Collection, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pandas as pd

from core.bucket import BucketImageStore
from core.workspace import Workspace
from labeling.kinds import KINDS, Kind
from labeling.studio import protocol as wire
from labeling.studio.annotations import round_of, sample_of, task_of
from labeling.studio.errors import check_address, explained_errors, refused_token
from labeling.studio.project import (
    IMAGES,
    Examples,
    check_image_is_served,
    connect_bucket,
    connect_folder,
    find_or_create,
    folder_lock,
    update_instructions,
    update_screen,
)
from labeling.studio.tabs import DISAGREEMENT, QUEUE, show_tabs

if TYPE_CHECKING:
    from label_studio_sdk import LabelStudio

SECONDS = 60.0  # how long one answer of the server is waited for
BATCH = 500  # tasks in one import; 500 to 1,000 is fastest
KEYS = 100  # sample ids in one look-up: more do not fit in an address
SCANNED = 4  # tasks of a project that are read in the time in which one sample is looked up
PAGE = 500  # tasks in one reading
ALL = 10_000  # more tasks than one look-up can find
OVERLAP = 5.0  # seconds read again: an answer may be committed later than its time stamp says
TRIES = 3  # of one import whose outcome is unknown
# What is asked for of a task; asking for everything takes five times as long.
TASK = "id,data,updated_at,overlap,total_annotations,cancelled_annotations"
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
    with (
        explained_errors(url, api_key),
        httpx.Client(
            timeout=SECONDS, follow_redirects=False, event_hooks={"response": [refused_token]}
        ) as line,
    ):
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
        self._kind: Kind | None = None

    @property
    def project_id(self) -> int:
        """The project in use."""
        if self._project is None:
            raise ValueError("no project is in use yet; call project(workspace) first")
        return self._project

    @property
    def kind(self) -> Kind:
        """What a label of the project in use is."""
        if self._kind is None:
            raise ValueError("no project is in use yet; call project(workspace) first")
        return self._kind

    @property
    def source(self) -> str:
        """The name under which the ledger keeps this project's answers."""
        return wire.source_of(self.project_id)

    def project(
        self,
        workspace: Workspace,
        examples: Examples | None = None,
        bucket: BucketImageStore | None = None,
    ) -> int:
        """Use the workspace's project, made if there is none yet; return its id.

        `examples` of each class go into the instructions; None leaves those as they are. Images
        are shown from the `bucket`, or else from the workspace's folder.
        Idempotent, also when two processes are the first at once.
        """
        with folder_lock(workspace.staged):
            project = find_or_create(self.client, self.url, workspace)
            self._project, self._classes = int(project.id), workspace.class_names
            self._kind = KINDS[workspace.kind]
            update_screen(self.client, self.url, project, workspace, self._classes_chosen)
            if examples is not None:
                update_instructions(self.client, project, workspace, examples)
            if bucket is None:
                connect_folder(self.client, self.project_id, workspace.staged / IMAGES)
            else:
                connect_bucket(self.client, self.project_id, bucket)
        return self.project_id

    def see(self, file: str) -> None:
        """Refuse to go on where annotators would not see this staged image."""
        check_image_is_served(self.client, file)

    def present(self, sample_ids: Sequence[str]) -> dict[str, int]:
        """The newest task of each of these samples that has one."""
        tasks = self._find(sample_ids)
        tasks.sort(key=lambda task: int(task["id"]))
        return {sample_of(task) or "": task["id"] for task in tasks}

    def assign(self, outgoing: pd.DataFrame) -> dict[str, int]:
        """Send a round's tasks to the annotators; return each sample's task.

        They are as `protocol.OUTGOING` declares. Idempotent: a sample has one task in a round.
        """
        tasks = wire.tasks_of(outgoing, self._classes, self.kind)
        there = self._tidy(tasks)
        missing = [task for task in tasks if _sample(task) not in there]
        for start in range(0, len(missing), BATCH):
            there |= self._send(missing[start : start + BATCH])
        model = wire.pre_annotation_model(outgoing)
        if model is not None:  # else the server silently does not sort by its confidence
            self.client.projects.update(self.project_id, model_version=model)
        self._change_tasks(outgoing.query("required_annotators > 1").assign(disputed=None))
        return {_sample(task): there[_sample(task)] for task in tasks}

    def ask_more(self, asked: pd.DataFrame) -> int:
        """Let each task be for `required_annotators` and in its tab; return how many changed.

        `asked` has sample_id, round_id, required_annotators and `disputed`: disputed tasks are in
        a tab of their own until somebody's final word. Idempotent; a task that was deleted is
        passed over.
        """
        return self._change_tasks(asked)

    def _change_tasks(self, asked: pd.DataFrame) -> int:
        """As `ask_more`; a task stays in its tab where `disputed` is None."""
        wanted: dict[Any, Any] = {(row.sample_id, row.round_id): row for row in asked.itertuples()}
        moved = 0
        for task in self._find(sorted({key for key, _ in wanted})):
            row = wanted.get((sample_of(task), round_of(task)))
            change = {} if row is None else _change(task, row)
            if change and self._update(task["id"], change):
                moved += 1
        return moved

    def show_tabs(self, rounds: Sequence[tuple[str, bool]], *, duel: int | None = None) -> None:
        """Let the newest rounds, the duel under way and disagreements have a tab each."""
        show_tabs(self.client, self.project_id, rounds, duel=duel)

    def size(self) -> int:
        """How many tasks the project has."""
        return int(self.client.projects.get(self.project_id).task_number or 0)

    def deleted(self, sent: Collection[tuple[str, str]]) -> set[tuple[str, str]]:
        """Those of `sent` (sample, round) that somebody deleted there, their answers with them.

        What `answers_to` then no longer finds is withdrawn in the ledger; its history stays.
        """
        samples = sorted({sample_id for sample_id, _ in sent})
        there = {(_sample(task), round_of(task)) for task in self._find(samples)}
        return {key for key in sent if key not in there}

    def answers_to(self, sample_ids: Sequence[str]) -> wire.Collected:
        """Every answer that now stands to these samples, whatever changed when."""
        collected = self._collect(self._find(sample_ids, ANSWERED_TASK), watermark=None)
        return replace(collected, read=set(sample_ids))

    def answers_since(self, watermark: str | None) -> wire.Collected:
        """Every answer to the samples that changed since `watermark` (None: to all samples).

        Hand the new watermark in next time. Reading again what is known does no harm. Unanswered
        copies are removed on the way: of an import that ended after `assign` had given it up.
        """
        since = watermark and wire.earlier(watermark, OVERLAP)
        tasks = {task["id"]: task for task in self._changed(since)}
        latest = max((task["updated_at"] for task in tasks.values()), default=None)
        if since is not None:  # answers to the same sample may stand on a task that did not change
            mine = {known for task in tasks.values() if (known := sample_of(task))}
            others = {_sample(task) for task in self._find(sorted(mine)) if task["id"] not in tasks}
            tasks |= {task["id"]: task for task in self._find(sorted(others), ANSWERED_TASK)}
        self._delete(_copies(tasks.values()))
        return self._collect(
            tasks.values(), watermark=max(filter(None, [watermark, latest]), default=None)
        )

    def _collect(self, tasks: Iterable[dict[str, Any]], *, watermark: str | None) -> wire.Collected:
        return wire.collect(
            tasks,
            source=self.source,
            users={user.id: user.email for user in self.client.users.list()},
            classes=self._classes,
            kind=self.kind,
            watermark=watermark,
        )

    def withdraw(self, sample_ids: Sequence[str]) -> set[str]:
        """Take away the unanswered tasks of these samples; return those that have none left."""
        self._delete([task for task in self._find(sample_ids) if not _answered(task)])
        return set(sample_ids) - set(self.present(sample_ids))

    def _update(self, task: int, change: dict[str, Any]) -> bool:
        """Change a task; whether it was still there."""
        from label_studio_sdk.core.api_error import ApiError

        options: Any = {"additional_body_parameters": change}
        try:
            self.client.tasks.update(str(task), request_options=options)
        except ApiError as error:
            if error.status_code != 404:
                raise
            return False
        return True

    def _classes_chosen(self) -> set[str]:
        return wire.classes_chosen(self._changed(None), self.kind)

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
                if isinstance(error, ApiError) and error.status_code == 404:
                    self.client.projects.get(self.project_id)  # says in words that it was deleted
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
        ids: dict[str, int] = {}
        spare: list[dict[str, Any]] = []
        # Answered ones first, so that those are kept.
        for task in sorted(self._find(list(rounds)), key=lambda t: (not _answered(t), t["id"])):
            ours = round_of(task) == rounds[_sample(task)]
            if ours and _sample(task) not in ids:
                ids[_sample(task)] = task["id"]
            elif not _answered(task):
                spare.append(task)
        self._delete(spare)
        return ids

    def _delete(self, tasks: list[dict[str, Any]]) -> None:
        """Delete tasks, those excepted that somebody answered meanwhile.

        Nothing younger is deleted either: a request that comes late may find another task under
        an id, for the server gives the id of a deleted task to the next one.
        """
        for start in range(0, len(tasks), BATCH):
            part = tasks[start : start + BATCH]
            unchanged = wire.unchanged_since(max(task["updated_at"] for task in part))
            self.client.actions.create(
                id="delete_tasks",
                project=self.project_id,
                filters={"conjunction": "and", "items": [*wire.without_answers(), unchanged]},
                selected_items={"all": False, "included": [task["id"] for task in part]},
            )

    def _find(self, sample_ids: Sequence[str], fields: str = TASK) -> list[dict[str, Any]]:
        """Every task of these samples."""
        if len(sample_ids) > KEYS and self.size() < SCANNED * len(sample_ids):
            every = {task["id"]: task for task in self._changed(None, fields)}
            wanted = set(sample_ids)
            return [task for task in every.values() if sample_of(task) in wanted]
        groups = (sample_ids[start : start + KEYS] for start in range(0, len(sample_ids), KEYS))
        asked = (wire.query(wire.of_samples(keys)) for keys in groups)
        return [task for query in asked for task in self._read(query, ALL, fields)]

    def _changed(self, since: str | None, fields: str = ANSWERED_TASK) -> Iterator[dict[str, Any]]:
        """Tasks in the order of their last change, from `since` on; one may come twice.

        Each reading starts at the moment where the one before ended. Numbered pages would skip
        tasks that live when others are deleted between two pages.
        """
        size = PAGE
        while True:
            filters = [wire.changed_since(since)] if since else []
            query = wire.query(*filters, order="tasks:updated_at")
            page = self._read(query, size, fields)
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
        return [task_of(task) for task in page.items or []]


def _greet(client: "LabelStudio", url: str) -> None:
    """Make sure that this is a Label Studio which knows our token."""
    if not getattr(client.users.whoami(), "email", None):
        raise ValueError(f"{url} answers, but not as Label Studio does; check LABEL_STUDIO_URL")


def _sample(task: dict[str, Any]) -> str:
    return str(sample_of(task))


def _change(task: dict[str, Any], asked: Any) -> dict[str, Any]:
    """What to change of a task, so that it is for so many people and stands where it belongs."""
    change: dict[str, Any] = {}
    if task["overlap"] < asked.required_annotators:
        # Without the second nobody would be given it again.
        change |= {"overlap": int(asked.required_annotators), "is_labeled": False}
    if asked.disputed is not None and _is_disputed(task) != asked.disputed:
        change["data"] = {**task["data"], "stage": DISAGREEMENT if asked.disputed else QUEUE}
    return change


def _is_disputed(task: dict[str, Any]) -> bool:
    return task["data"].get("stage") == DISAGREEMENT


def _answered(task: dict[str, Any]) -> bool:
    return bool(task["answers"])


def _copies(tasks: Iterable[dict[str, Any]]) -> list[dict[str, Any]]:
    """The unanswered tasks whose sample has another task in the same round."""
    keys: set[tuple[Any, Any]] = set()
    copies = []
    for task in sorted(tasks, key=lambda task: (not _answered(task), task["id"])):
        key = sample_of(task), round_of(task)
        if key[0] and key in keys and not _answered(task):
            copies.append(task)
        keys.add(key)
    return copies


def _nothing_stored(error: Any) -> bool:
    """Whether the server said no and stored nothing; a proxy's time-out (408) says neither."""
    return 400 <= (error.status_code or 0) < 500 and error.status_code != 408
