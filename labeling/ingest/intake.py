"""Images into our care: checked, cleaned, stored in shards, known by the SHA-256 of their bytes.

For each shard the intent comes first, the file second, its rows in one transaction third. A kill
anywhere loses nothing that has a row; the next run takes the rest and removes files without rows.
"""

import errno
import secrets
import shutil
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from sqlalchemy import Connection, Engine, delete, insert, select

from core import journal
from core.database import now, writing
from core.images import CleanImage, ImageRefused, clean_image
from core.intents import begin_intent, commit_intent, intents, open_intents
from core.locks import Token, fence, only_writer
from core.masking import mask_image
from core.shards import Shard, ShardLocation, pack
from core.workspace import Workspace
from labeling.audit.membership import draw_new_groups, draw_standing_audit
from labeling.audit.numbers import AuditPolicy
from labeling.ingest.files import ImageFile, ReadFile, files_under, read_files
from labeling.ingest.near_duplicates import DamagedIndex, ThumbnailIndex, join_groups
from labeling.ledger.answers import known_samples
from labeling.ledger.erased import is_replaced
from labeling.ledger.image_queries import RefusedFile
from labeling.ledger.overview import ledger_counts
from labeling.ledger.samples import groups_of
from labeling.ledger.tables import refusals, samples, sources
from labeling.ledger.watermarks import save_watermark, watermark_of

USUAL_AUDIT = AuditPolicy()
SHARD_IMAGES = 2_000
PART_IMAGES, PART_BYTES = 256, 2**26  # of the traffic, looked at together
SHARD_BYTES = 2**28  # held in memory until the shard is written
_FILES_AT_ONCE = 10_000  # rows that wait for a shard at most: copies and refusals fill none
_ASKED_AT_ONCE = 1_000
_LISTED = 100  # refused files that an intake lists
INDEX = "thumbnails"  # watermark: the last shard whose samples are in the index of thumbnails
_PASSING = ("UNREADABLE", "CHANGED")  # may be mended without a trace in size or time: look again


def index_folder(workspace: Workspace) -> Path:
    """Where the index of thumbnails is saved."""
    return workspace.scores / "thumbnails"


@dataclass(frozen=True)
class Intake:
    """What became of the files; added, known and refused sum to all of them."""

    added: int  # new samples
    known: int  # files that were here before, and copies of a sample
    refused: dict[str, int]  # by reason, those of earlier runs included
    skipped: int  # hidden entries, links and whatever else was not looked at
    shards: int
    seconds: float
    refused_files: list[RefusedFile] = field(default_factory=list)  # the first 100


def ingest(
    engine: Engine,
    workspace: Workspace,
    paths: Sequence[Path],
    *,
    processes: int = 1,
    on_progress: Callable[[int, int], None] | None = None,
    audit: AuditPolicy = USUAL_AUDIT,
) -> Intake:
    """Take in the image files under `paths`; one known by path, size and time is not read again.

    Run twice, or killed and run again, it adds nothing twice and forgets nothing.
    """
    began = time.monotonic()
    ours = [path for path in workspace.root.iterdir() if path != workspace.inbox]
    files, skipped = files_under(paths, without=ours)
    with only_writer(engine, "intake") as token:
        store = _Store(engine, workspace, token, "ingest", audit)
        fresh = store.unseen(files)
        done = len(files) - len(fresh)
        for chunk in read_files(fresh, processes=processes):
            store.take(chunk)
            done += len(chunk)
            if on_progress:
                on_progress(done, len(files))
        store.finish()
    return store.intake(skipped=skipped, began=began)


def adopt(
    engine: Engine,
    workspace: Workspace,
    received: Iterable[tuple[str, bytes]],
    *,
    origin: str = "served",
    audit: AuditPolicy = USUAL_AUDIT,
    mask: str = "none",
) -> Intake:
    """Take in bytes that came through the service; the path of each is `<origin>:<its name>`.

    A name that was adopted before is known, and adds nothing. `mask` is one of `MASKERS`.
    """
    began = time.monotonic()
    with only_writer(engine, "intake") as token:
        store = _Store(engine, workspace, token, origin, audit)
        for part in _parts(received):
            files = [ImageFile(f"{origin}:{name}", len(sent), 0) for name, sent in part.items()]
            content = dict(zip(files, part.values(), strict=True))
            store.take([ReadFile(f, _cleaned(content[f], mask)) for f in store.unseen(files)])
        store.finish()
    return store.intake(skipped=0, began=began)


def _parts(received: Iterable[tuple[str, bytes]]) -> Iterator[dict[str, bytes]]:
    """As many images at a time as fit into memory, whatever their sizes."""
    part: dict[str, bytes] = {}
    size = 0
    for name, content in received:
        part[name] = content
        size += len(content)
        if len(part) == PART_IMAGES or size >= PART_BYTES:
            yield part
            part, size = {}, 0
    if part:
        yield part


def _cleaned(received: bytes, mask: str) -> CleanImage | ImageRefused:
    try:
        return mask_image(clean_image(received), mask)
    except ImageRefused as refused:
        return refused


@dataclass
class _Store:
    """The one writer of samples: gathers images until a shard is full, then stores them."""

    engine: Engine
    workspace: Workspace
    token: Token
    origin: str
    audit: AuditPolicy = USUAL_AUDIT
    added: int = 0
    known: int = 0
    shards: int = 0
    refused: Counter[str] = field(default_factory=Counter)
    refused_files: list[RefusedFile] = field(default_factory=list)
    _stale: set[str] = field(default_factory=set)  # paths whose rows are to be replaced
    _index: ThumbnailIndex | None = None  # None until an image makes it worth loading
    _index_version: str = ""  # the last shard whose samples are in it
    _sample_ids: set[str] = field(default_factory=set)  # of images that wait for a shard
    _images: list[CleanImage] = field(default_factory=list)
    _bytes: int = 0
    _taken: dict[str, tuple[ImageFile, str]] = field(default_factory=dict)  # by path
    _turned_away: dict[str, tuple[ImageFile, ImageRefused]] = field(default_factory=dict)

    def unseen(self, files: Sequence[ImageFile]) -> list[ImageFile]:
        """Those of `files` that must be read; the others are counted as what they were."""
        fresh = []
        for start in range(0, len(files), _ASKED_AT_ONCE):
            part = {file.name: file for file in files[start : start + _ASKED_AT_ONCE]}
            with self.engine.connect() as connection:
                outcomes = _outcomes_before(connection, list(part))
            on_record = {name for name, *_ in outcomes}
            for name, file in part.items():
                key = (name, file.size, file.mtime_ns)
                refusal = outcomes.get(key)
                if key not in outcomes or (refusal and refusal.reason in _PASSING):
                    fresh.append(file)
                    self._stale |= {name} & on_record
                elif refusal is None:
                    self.known += 1
                else:
                    self._count_refused(refusal)
        return fresh

    def take(self, chunk: Sequence[ReadFile]) -> None:
        """Put what was read with the rest, and store it all when that is enough."""
        outcomes = [read.outcome for read in chunk]
        images = [image.sample_id for image in outcomes if isinstance(image, CleanImage)]
        with self.engine.connect() as connection:
            self._sample_ids |= set(known_samples(connection, images))
        for file, outcome in zip((read.file for read in chunk), outcomes, strict=True):
            if isinstance(outcome, ImageRefused):
                self._turned_away[file.name] = file, outcome
                self._count_refused(RefusedFile(file.name, outcome.reason, outcome.detail))
            else:
                self._take_image(file, outcome)
            files = len(self._taken) + len(self._turned_away)
            full = len(self._images) == SHARD_IMAGES or self._bytes >= SHARD_BYTES
            if full or files >= _FILES_AT_ONCE:
                self._store()

    def finish(self) -> None:
        """Store what is left, and remove what killed runs left behind."""
        self._store()
        if self._index is not None:
            self._index.save(index_folder(self.workspace), self._index_version)
        with writing(self.engine) as connection:
            fence(connection, self.token)
            for name in open_intents(connection, "shard"):
                (self._folder / name).unlink(missing_ok=True)
                connection.execute(
                    delete(intents).where(intents.c.kind == "shard", intents.c.key == name)
                )
        for part in self._folder.glob(".*.tar.*.part"):
            part.unlink(missing_ok=True)

    def intake(self, *, skipped: int, began: float) -> Intake:
        """The sums, for whoever asked."""
        return Intake(
            added=self.added,
            known=self.known,
            refused=dict(self.refused),
            skipped=skipped,
            shards=self.shards,
            seconds=time.monotonic() - began,
            refused_files=self.refused_files,
        )

    def _count_refused(self, file: RefusedFile) -> None:
        self.refused[file.reason] += 1
        if len(self.refused_files) < _LISTED:
            self.refused_files.append(file)

    def _take_image(self, file: ImageFile, image: CleanImage) -> None:
        self._taken[file.name] = file, image.sample_id
        if image.sample_id in self._sample_ids:
            self.known += 1
            return
        self._sample_ids.add(image.sample_id)
        self._images.append(image)
        self._bytes += len(image.content)
        self.added += 1

    @property
    def _folder(self) -> Path:
        return self.workspace.shards

    def _load_index(self, connection: Connection) -> ThumbnailIndex:
        """The index of all samples: as it was saved if that was after the last of them, or anew."""
        self._index_version = watermark_of(connection, INDEX) or ""
        saved = ThumbnailIndex.load(index_folder(self.workspace), self._index_version)
        if saved is not None and len(saved) == ledger_counts(connection).samples:
            return saved
        return _new_index(connection)

    def _store(self) -> None:
        """Everything gathered into one shard and one transaction."""
        if not self._taken and not self._turned_away:
            return
        shard = self._written_shard() if self._images else None
        with writing(self.engine) as connection:
            fence(connection, self.token)
            if shard is not None:
                self._record_samples(connection, shard)
                commit_intent(connection, self.token, kind="shard", key=shard.name)
            taken, turned_away = self._taken.keys(), self._turned_away.keys()
            _forget(connection, taken=self._stale & taken, refused=self._stale & turned_away)
            _record_sources(connection, self._taken.values())
            _record_refusals(connection, self._turned_away.values())
        self._images, self._bytes, self._taken, self._turned_away = [], 0, {}, {}

    def _written_shard(self) -> Shard:
        images = [(f"{one.sample_id}.{one.format.lower()}", one.content) for one in self._images]
        shard = pack(images)
        with writing(self.engine) as connection:
            if is_replaced(connection, shard.name):  # what was erased came again
                shard = pack([*images, (secrets.token_hex(8), b"")])
            payload = {"samples": len(images)}
            begin_intent(connection, self.token, kind="shard", key=shard.name, payload=payload)
        with _room_in(self._folder, f"a shard of {shard.size:,} bytes"):
            shard.write(self._folder)
        self.shards += 1
        return shard

    def _record_samples(self, connection: Connection, shard: Shard) -> None:
        if self._index is None:
            self._index = self._load_index(connection)
        sample_ids = [one.sample_id for one in self._images]
        thumbnails = [one.thumbnail for one in self._images]
        try:
            alike = self._index.add(sample_ids, thumbnails)
        except DamagedIndex as damage:
            print(f"{damage}; it is made anew")
            self._index = _new_index(connection)
            alike = self._index.add(sample_ids, thumbnails)
        older = {other for _, other in alike} - set(sample_ids)
        known = groups_of(connection, older)
        groups, renamed = join_groups(sample_ids, alike, known)
        self._index_version = shard.name
        save_watermark(connection, INDEX, shard.name)
        draw_standing_audit(connection, self.audit)
        same = {"origin": self.origin, "added_at": now()}
        rows = [
            {**_sample_row(image, place), "group_id": group, **same}
            for image, place, group in zip(self._images, shard.places, groups, strict=False)
        ]
        journal.insert(connection, samples, rows)
        for old, new in renamed.items():
            journal.update(connection, samples, samples.c.group_id == old, group_id=new)
        old_groups = {renamed.get(group, group) for group in known.values()}
        draw_new_groups(connection, set(groups) - old_groups, self.audit)


def _new_index(connection: Connection) -> ThumbnailIndex:
    """An index of all samples of the ledger."""
    index = ThumbnailIndex()
    columns = samples.c["sample_id", "thumbnail"]
    result = connection.execute(select(*columns).execution_options(yield_per=10_000))
    for part in result.tuples().partitions():
        sample_ids, thumbnails = zip(*part, strict=True)
        index.remember(sample_ids, thumbnails)
    return index


def _sample_row(image: CleanImage, place: ShardLocation) -> dict[str, object]:
    return {
        "sample_id": image.sample_id,
        "shard": place.shard,
        "offset": place.offset,
        "length": place.length,
        "stored_sha256": place.sha256,
        "format": image.format,
        "width": image.width,
        "height": image.height,
        "thumbnail": image.thumbnail,
        "masked": image.masked,
    }


def _outcomes_before(
    connection: Connection, names: list[str]
) -> dict[tuple[str, int, int], RefusedFile | None]:
    """Why each (path, size, time) on record was refused; None for those that were taken."""
    of_taken = (sources.c.path, sources.c.size, sources.c.mtime_ns)
    of_refused = refusals.c["path", "size", "mtime_ns", "reason", "detail"]
    taken = connection.execute(select(*of_taken).where(sources.c.path.in_(names)))
    refused = connection.execute(select(*of_refused).where(refusals.c.path.in_(names)))
    outcomes: dict[tuple[str, int, int], RefusedFile | None] = dict.fromkeys(map(tuple, taken))
    return outcomes | {
        (path, size, mtime_ns): RefusedFile(path, reason, detail)
        for path, size, mtime_ns, reason, detail in refused
    }


def _forget(connection: Connection, *, taken: set[str], refused: set[str]) -> None:
    """Drop the rows that others replace; a path refused now keeps the sample it gave before."""
    if taken or refused:
        connection.execute(delete(refusals).where(refusals.c.path.in_(taken | refused)))
    if taken:
        connection.execute(delete(sources).where(sources.c.path.in_(taken)))


def _record_sources(connection: Connection, taken: Iterable[tuple[ImageFile, str]]) -> None:
    at = now()
    rows = [{**_file_row(file), "sample_id": sample_id, "seen_at": at} for file, sample_id in taken]
    if rows:
        connection.execute(insert(sources), rows)


def _record_refusals(
    connection: Connection, refused: Iterable[tuple[ImageFile, ImageRefused]]
) -> None:
    at = now()
    rows = [
        {**_file_row(file), "reason": one.reason, "detail": one.detail, "refused_at": at}
        for file, one in refused
    ]
    if rows:
        connection.execute(insert(refusals), rows)


def _file_row(file: ImageFile) -> dict[str, object]:
    return {"path": file.name, "size": file.size, "mtime_ns": file.mtime_ns}


@contextmanager
def _room_in(folder: Path, what: str) -> Iterator[None]:
    """Say it clearly when the disk is full."""
    try:
        yield
    except OSError as error:
        if error.errno not in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG):
            raise
        there = next(path for path in (folder, *folder.parents) if path.exists())
        raise OSError(
            errno.ENOSPC,
            f"no room in {folder} for {what}, {shutil.disk_usage(there).free:,} bytes are free; "
            "make room and run again, nothing that was stored is lost",
        ) from error
