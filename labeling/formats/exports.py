"""A snapshot as files that others read: CSV, COCO, a class-per-folder tree, Label Studio's JSON.

Each comes back through `labeling/formats/imports.py` with the same labels, its images included. The
target is there whole or not at all.
"""

import fcntl
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from sqlalchemy import Engine

from core.files import sync_path
from core.shards import read_images
from core.workspace import Workspace
from labeling.formats import WRITERS
from labeling.formats.export_rows import Export
from labeling.formats.folders import folder_names
from labeling.kinds import KINDS
from labeling.ledger.reasons import Split
from labeling.ledger.samples import image_formats, original_paths
from labeling.ledger.settlement import settled_times
from labeling.ledger.tables import location_of
from labeling.snapshots.publish import fetch_shards, list_snapshots, load_snapshot

ENDINGS = {"JPEG": "jpg", "PNG": "png"}


def export_snapshot(
    engine: Engine,
    workspace: Workspace,
    name: str | None = None,
    *,
    format: str,
    target: Path,
    images: bool = True,
) -> int:
    """Write a snapshot, the newest by default, into the new folder `target`; return its rows.

    Killed anywhere it leaves no target, and the next run takes away what it left beside it.
    """
    known = [one for one in WRITERS if one in KINDS[workspace.kind].formats]
    if format not in known:
        raise ValueError(f"format is {format!r}; choose from {', '.join(known)}")
    if format == "folders" and not images:
        raise ValueError("a class-per-folder tree is its images; choose another format without")
    export = _load(engine, workspace, name or _newest(engine), in_tree=format == "folders")
    with _whole_folder(Path(target).expanduser()) as folder:
        WRITERS[format](export, folder)
        if images:
            fetch_shards(engine, workspace, export.name)
            _write_images(export, folder, workspace.shards)
    return len(export.rows)


def _newest(engine: Engine) -> str:
    known = list_snapshots(engine)
    if known.empty:
        raise ValueError("there is no snapshot to export yet; `hone collect` cuts one from labels")
    return str(known["name"].iloc[-1])


def _load(engine: Engine, workspace: Workspace, name: str, *, in_tree: bool) -> Export:
    table = load_snapshot(engine, workspace, name)
    table = table[table["split"] != Split.SOFT]  # an import would take them for annotators' labels
    cut_at = list_snapshots(engine).set_index("name")["created_at"][name]
    with engine.connect() as connection:
        formats, paths = image_formats(connection), original_paths(connection)
        settled = settled_times(connection, cut_at)
    kind = KINDS[workspace.kind]
    labelled = {name for value in table["label"].unique() for name in kind.classes_of(value)}
    classes = [*workspace.class_names, *sorted(labelled - set(workspace.class_names))]
    rows = table.astype(object).where(table.notna(), None)
    named = rows["sample_id"] + "." + rows["sample_id"].map(formats).map(ENDINGS)
    inside = rows["split"] + "/" + rows["label"].map(folder_names(classes))
    rows["image"] = (inside if in_tree else "images") + "/" + named
    rows["settled_at"] = rows["sample_id"].map(settled).fillna(cut_at)  # none: a clock was set back
    rows["file_name"] = [paths.get(sample_id) for sample_id in rows["sample_id"]]
    return Export(name, rows, classes, kind)


def _write_images(export: Export, folder: Path, shards: Path) -> None:
    ordered = export.rows.sort_values(["shard", "offset"])
    for path in {(folder / image).parent for image in ordered["image"]}:
        path.mkdir(parents=True)
    contents = read_images(shards, map(location_of, ordered.itertuples()))
    for image, content in zip(ordered["image"], contents, strict=True):
        (folder / image).write_bytes(content)


@contextmanager
def _whole_folder(target: Path) -> Iterator[Path]:
    """A hidden folder beside `target` that takes its name when the block ends well."""
    if target.exists() and (not target.is_dir() or any(target.iterdir())):
        raise ValueError(f"{target} is there already and not empty; name a new folder")
    target = target.resolve()
    part = target.parent / f".{target.name}.part"
    try:
        part.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise ValueError(
            f"{target} cannot be written: {error.strerror} ({target.parent}); name another folder"
        ) from error
    with _alone(part):
        for entry in list(part.iterdir()):  # of a run that was killed
            shutil.rmtree(entry) if entry.is_dir() else entry.unlink()
        try:
            yield part
            os.sync()  # one for all: a sync for each image takes minutes
            part.rename(target)
        except BaseException:
            shutil.rmtree(part, ignore_errors=True)
            raise
        sync_path(target.parent)


@contextmanager
def _alone(folder: Path) -> Iterator[None]:
    """The lock on a folder, which a dead process cannot leave behind."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        yield
    except BlockingIOError as error:
        raise ValueError(
            f"another export is writing {folder}; wait for it, or name another folder"
        ) from error
    finally:
        os.close(descriptor)
