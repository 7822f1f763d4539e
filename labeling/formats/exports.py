"""A snapshot as files that others read: CSV, COCO, a class-per-folder tree, Label Studio's JSON.

Each comes back through `labeling/formats/imports.py` with the same labels, its images included. The
target is there whole or not at all.
"""

import csv
import fcntl
import json
import os
import re
import shutil
import unicodedata
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pandas as pd
from sqlalchemy import Engine, select

from core.files import sync_folder
from core.shards import read_images
from core.workspace import Workspace
from labeling.formats.tables import FOLDER_NAMES
from labeling.ledger.tables import location_of, samples
from labeling.snapshots.publish import fetch_shards, list_snapshots, load_snapshot
from labeling.snapshots.table import SOFT

ENDINGS = {"JPEG": "jpg", "PNG": "png"}
CSV_COLUMNS = [
    *("sample_id", "image", "label", "split", "trust", "annotators", "source", "round_id"),
    *("settled_at", "group_id", "inclusion_probability", "origin", "width", "height"),
]
_UNSAFE = re.compile(r'[\x00-\x1f\x7f<>:"/\\|?*]')  # in file names, on one system or another
_NAME_BYTES = 200  # of a folder's name; 255 is the limit


@dataclass(frozen=True)
class Export:
    """The rows of a snapshot on their way out; `image` is where each one's image belongs."""

    name: str
    rows: pd.DataFrame
    classes: list[str]


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
    if format not in WRITERS:
        raise ValueError(f"format is {format!r}; choose from {', '.join(WRITERS)}")
    if format == "folders" and not images:
        raise ValueError("a class-per-folder tree is its images; choose another format without")
    export = _load(engine, workspace, name or _newest(engine), in_tree=format == "folders")
    with _whole_folder(Path(target).expanduser()) as folder:
        WRITERS[format](export, folder)
        if images:
            fetch_shards(engine, workspace, export.name)
            _write_images(export, folder, workspace.shards)
    return len(export.rows)


def folder_names(classes: Sequence[str]) -> dict[str, str]:
    """A folder's name for each class, safe on every system and never the same for two."""
    safe = {name: _safe(name) for name in classes}
    names: dict[str, str] = {}
    for name in sorted(classes, key=lambda name: safe[name] != name):  # whose name can stay first
        taken = {known.casefold() for known in names.values()}
        ways = (safe[name], *(f"{safe[name]}_{number}" for number in range(2, len(classes) + 2)))
        names[name] = next(way for way in ways if way.casefold() not in taken)
    return {name: names[name] for name in classes}


def write_csv(export: Export, folder: Path) -> None:
    """One line for each row; annotators are a JSON list."""
    table = export.rows[CSV_COLUMNS].assign(annotators=export.rows["annotators"].map(_as_json))
    with (folder / f"{export.name}.csv").open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(CSV_COLUMNS)
        writer.writerows(table.itertuples(index=False))


def write_coco(export: Export, folder: Path) -> None:
    """Images, categories and one annotation for each image, which has no box."""
    numbers = {name: number for number, name in enumerate(export.classes, start=1)}
    rows = list(enumerate(export.rows.itertuples(), start=1))
    images = [
        {"id": number, "file_name": row.image, "width": row.width, "height": row.height,
         "sample_id": row.sample_id, "split": row.split}
        for number, row in rows
    ]  # fmt: skip
    annotations = [
        {"id": number, "image_id": number, "category_id": numbers[str(row.label)],
         "trust": row.trust, "annotators": row.annotators}
        for number, row in rows
    ]  # fmt: skip
    categories = [{"id": number, "name": name} for name, number in numbers.items()]
    about = {"description": f"{export.name} of Hone", "version": export.name}
    whole = {"info": about, "images": images, "annotations": annotations, "categories": categories}
    (folder / f"{export.name}.json").write_text(_as_json(whole), encoding="utf-8")


def write_folders(export: Export, folder: Path) -> None:
    """What each folder's name stands for; the images themselves are the labels."""
    names = {safe: name for name, safe in folder_names(export.classes).items()}
    (folder / FOLDER_NAMES).write_text(json.dumps(names, indent=1), encoding="utf-8")


def write_label_studio(export: Export, folder: Path) -> None:
    """A task with one annotation for each row, as Label Studio exports and imports them."""
    with (folder / f"{export.name}.json").open("w", encoding="utf-8") as file:
        before = "["
        for number, row in enumerate(export.rows.itertuples(), start=1):
            file.write(f"{before}\n{_as_json(_studio_task(number, row))}")
            before = ","
        file.write("\n]\n")


WRITERS: dict[str, Callable[[Export, Path], None]] = {
    "csv": write_csv,
    "coco": write_coco,
    "folders": write_folders,
    "label-studio": write_label_studio,
}


def _newest(engine: Engine) -> str:
    known = list_snapshots(engine)
    if known.empty:
        raise ValueError("there is no snapshot to export yet; `hone collect` cuts one from labels")
    return str(known["name"].iloc[-1])


def _load(engine: Engine, workspace: Workspace, name: str, *, in_tree: bool) -> Export:
    table = load_snapshot(engine, workspace, name)
    table = table[table["split"] != SOFT]  # an import would take guesses for people's labels
    with engine.connect() as connection:
        kinds = dict(connection.execute(select(*samples.c["sample_id", "format"])).tuples().all())
    since_removed = sorted(set(table["label"]) - set(workspace.class_names))
    classes = [*workspace.class_names, *since_removed]
    rows = table.astype(object).where(table.notna(), None)
    named = rows["sample_id"] + "." + rows["sample_id"].map(kinds).map(ENDINGS)
    inside = rows["split"] + "/" + rows["label"].map(folder_names(classes))
    rows["image"] = (inside if in_tree else "images") + "/" + named
    return Export(name, rows, classes)


def _write_images(export: Export, folder: Path, shards: Path) -> None:
    ordered = export.rows.sort_values(["shard", "offset"])
    for path in {(folder / image).parent for image in ordered["image"]}:
        path.mkdir(parents=True)
    contents = read_images(shards, map(location_of, ordered.itertuples()))
    for image, content in zip(ordered["image"], contents, strict=True):
        (folder / image).write_bytes(content)


def _studio_task(number: int, row: Any) -> dict[str, Any]:
    content = {"image": f"/data/local-files/?d={quote(row.image)}", "sample_id": row.sample_id,
               "split": row.split, "trust": row.trust}  # fmt: skip
    chosen = {"id": row.sample_id[:10], "from_name": "label", "to_name": "image", "type": "choices",
              "value": {"choices": [row.label]}}  # fmt: skip
    at = row.settled_at.replace("+00:00", "Z")
    annotation = {"id": number, "result": [chosen], "was_cancelled": False, "ground_truth": False,
                  "created_at": at, "updated_at": at}  # fmt: skip
    if len(row.annotators) == 1 and "@" in row.annotators[0]:
        annotation["completed_by"] = {"email": row.annotators[0]}
    return {"id": number, "data": content, "annotations": [annotation], "predictions": []}


def _safe(name: str) -> str:
    plain = _UNSAFE.sub("_", unicodedata.normalize("NFC", name))
    return plain.encode()[:_NAME_BYTES].decode(errors="ignore").strip(" .") or "_"


def _as_json(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False, allow_nan=False)


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
        for left in list(part.iterdir()):  # by a run that was killed
            shutil.rmtree(left) if left.is_dir() else left.unlink()
        try:
            yield part
            os.sync()  # one for all: a sync for each image takes minutes
            part.rename(target)
        except BaseException:
            shutil.rmtree(part, ignore_errors=True)
            raise
        sync_folder(target.parent)


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
