"""What the stored images promise, checked: their bytes, their near-duplicates, and nothing else."""

from collections.abc import Iterator
from itertools import groupby
from operator import attrgetter
from pathlib import Path
from typing import Any

from sqlalchemy import Connection, Engine, Row, func, select

from core.database import stream
from core.files import file_sha256
from core.findings import MEND, RESTORE, Finding
from core.intents import open_intents
from core.shards import read_image
from core.workspace import Workspace
from labeling.ingest.aligned_copies import are_aligned
from labeling.ingest.intake import INDEX, index_folder
from labeling.ingest.near_duplicates import damage_of_index, strangers
from labeling.ledger.erased import being_replaced, erased_groups, erased_samples
from labeling.ledger.samples import thumbnails_of
from labeling.ledger.tables import location_of, samples
from labeling.ledger.watermarks import watermark_of

PLACES = samples.c["sample_id", "shard", "offset", "length", "stored_sha256"]


def samples_are_in_their_shards(engine: Engine, workspace: Workspace) -> Iterator[Finding]:
    """Shards that are missing or damaged, and samples whose bytes are not at their place."""
    in_order = select(*PLACES).order_by(samples.c.shard, samples.c.offset)
    with engine.connect() as connection:
        for shard, members in groupby(stream(connection, in_order), key=attrgetter("shard")):
            path = workspace.shards / str(shard)
            if path.is_file() and file_sha256(path) == path.stem:
                yield from _members_that_differ(workspace, members)
            else:
                state = "is damaged" if path.is_file() else "is missing"
                yield Finding(
                    "I3",
                    f"shard {shard} {state}: {sum(1 for _ in members)} samples",
                    f"{MEND}; what no snapshot has, `hone ingest` of the same files",
                )


def _members_that_differ(workspace: Workspace, members: Iterator[Row[Any]]) -> Iterator[Finding]:
    for row in members:
        try:
            read_image(workspace.shards, location_of(row))
        except (OSError, ValueError) as error:
            yield Finding(
                "I3",
                f"sample {str(row.sample_id)[:12]}: {error}",
                f"its row does not fit the shard: {RESTORE}",
            )


def shards_are_of_samples(engine: Engine, workspace: Workspace) -> Iterator[Finding]:
    """Files among the shards that hold no sample and that no unfinished intake explains."""
    with engine.connect() as connection:
        for path in stray_shards(connection, workspace):
            yield Finding(
                "I10",
                f"{path} is no shard of a sample",
                "remove it, or DVC takes it into the next snapshot; if samples are missing, "
                f"{RESTORE}",
            )


def stray_shards(connection: Connection, workspace: Workspace) -> list[Path]:
    """The files in the folder of the shards that are none, and are not being written."""
    pending = open_intents(connection, "shard").keys() | being_replaced(connection)
    known = {*connection.scalars(select(samples.c.shard).distinct()), ".gitignore"}
    known |= {*connection.scalars(select(erased_samples.c.shard).distinct())}
    return [
        path
        for path in sorted(workspace.shards.glob("*"))
        if path.name not in known | pending and path.suffix not in (".part", ".tmp")
    ]


def near_duplicates_are_together(engine: Engine, workspace: Workspace) -> Iterator[Finding]:
    """Groups with a sample that resembles no other of them, and equal images in two groups.

    What held a group together may be erased: such a group stays one, and is not looked at.
    """
    with engine.connect() as connection:
        yield from _groups_of_strangers(connection)
        equal = (
            select(func.min(samples.c.sample_id), func.min(samples.c.group_id))
            .group_by(samples.c.thumbnail)
            .having(func.min(samples.c.group_id) != func.max(samples.c.group_id))
        )
        for sample_id, group in stream(connection, equal):
            what = f"sample {sample_id[:12]} and its equals are in group {group[:12]} and in others"
            yield Finding("I11", what, RESTORE)


def _groups_of_strangers(connection: Connection) -> Iterator[Finding]:
    twin = samples.alias()
    names = select(twin.c.sample_id).where(twin.c.group_id == twin.c.sample_id)
    columns = samples.c["sample_id", "group_id"]
    named = select(*columns).where(
        samples.c.group_id.not_in(names), samples.c.group_id.not_in(erased_groups())
    )
    for row in stream(connection, named):
        what = f"sample {row.sample_id[:12]} is in group {row.group_id[:12]}, which is none"
        yield Finding("I11", what, RESTORE)
    shared = select(samples.c.group_id).group_by(samples.c.group_id).having(func.count() > 1)
    shared = shared.where(samples.c.group_id.not_in(erased_groups()))
    members = select(*samples.c["sample_id", "group_id", "thumbnail"])
    members = members.where(samples.c.group_id.in_(shared)).order_by(samples.c.group_id)
    for group, rows in groupby(stream(connection, members), key=attrgetter("group_id")):
        named_by = list(rows)
        ids, thumbnails = [row.sample_id for row in named_by], [row.thumbnail for row in named_by]
        for sample_id in strangers(ids, thumbnails):
            own = ids.index(sample_id)
            if are_aligned(thumbnails[own], thumbnails[:own] + thumbnails[own + 1 :]):
                continue
            what = f"sample {sample_id[:12]} resembles no other of its group {group[:12]}"
            yield Finding("I11", what, RESTORE)


def the_index_of_thumbnails_is_whole(engine: Engine, workspace: Workspace) -> Iterator[Finding]:
    """An index of thumbnails that counts as current and is another than the samples have."""
    folder = index_folder(workspace)
    with engine.connect() as connection:
        version = watermark_of(connection, INDEX) or ""
        problem = damage_of_index(folder, version, lambda ids: thumbnails_of(connection, ids))
    if problem:
        yield Finding("I11", f"{folder}: {problem}", "`hone fsck --repair` drops it")
