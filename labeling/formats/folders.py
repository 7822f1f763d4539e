"""A tree with a folder for each class: the folders are the labels, the files are the images."""

import csv
import json
import re
import unicodedata
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from core.hone_toml import plain_name
from core.text import listed, storable
from labeling.formats.export_rows import Export
from labeling.formats.rows import LabelFile, Row, cell_of, same_name
from labeling.ingest.files import ImageFile, files_under
from labeling.kinds import Kind

MANIFEST = "files.csv"  # in an exported tree: where each image was ingested from
FOLDER_NAMES = "classes.json"  # in an exported tree: folder name -> class, where they differ
_UNSAFE = re.compile(r'[\x00-\x1f\x7f<>:"/\\|?*]')  # in file names, on one system or another
_NAME_BYTES = 200  # of a folder's name; 255 is the limit


def read_folders(path: Path, classes: Sequence[str], kind: Kind) -> LabelFile:
    """The images below `path`; the nearest folder above an image that names a class is its label.

    So `cat/1.png`, `train/cat/1.png` and `cat/night/1.png` are all of class cat.
    """
    if not path.is_dir():
        raise ValueError(f"{path} is no folder; name the one with a folder for each class")
    root = path.resolve()
    names = {**same_name(classes), **{name: name for name in classes}, **_folder_names(root)}
    files, skipped = files_under([root])
    rows = [_file_row(file, root, names) for file in files]
    rows = [row for row in rows if row.where not in (FOLDER_NAMES, MANIFEST)]
    if not any(row.label in classes for row in rows):
        folders = sorted(entry.name for entry in root.iterdir() if entry.is_dir())
        raise ValueError(
            f"{path}: none of its folders is a class; it has {listed(folders) or 'no folders'}, "
            f"the classes of hone.toml are {listed(classes)}; name the folder that has one folder "
            "for each class, or the label file in it"
        )
    notes = [f"{skipped} hidden files and links were skipped"] if skipped else []
    return LabelFile(path, rows, notes)


def write_folders(export: Export, folder: Path) -> None:
    """What each folder's name stands for, and a manifest; the images themselves are the labels."""
    names = {safe: name for name, safe in folder_names(export.classes).items()}
    (folder / FOLDER_NAMES).write_text(json.dumps(names, indent=1), encoding="utf-8")
    columns = ["image", "sample_id", "split", "label", "file_name"]
    with (folder / MANIFEST).open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(columns)
        rows = export.rows[columns].itertuples(index=False)
        writer.writerows(map(cell_of, row) for row in rows)


def folder_names(classes: Sequence[str]) -> dict[str, str]:
    """A folder's name for each class, safe on every system and never the same for two."""
    safe = {name: _safe(name) for name in classes}
    names: dict[str, str] = {}
    for name in sorted(classes, key=lambda name: safe[name] != name):  # whose name can stay first
        taken = {known.casefold() for known in names.values()}
        ways = (safe[name], *(f"{safe[name]}_{number}" for number in range(2, len(classes) + 2)))
        names[name] = next(way for way in ways if way.casefold() not in taken)
    return {name: names[name] for name in classes}


def _folder_names(root: Path) -> dict[str, str]:
    """The class of each folder of an exported tree; none where another program wrote the file."""
    try:
        names = json.loads((root / FOLDER_NAMES).read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError):
        return {}
    entries = names.items() if isinstance(names, dict) else ()
    return {folder: name for folder, name in entries if isinstance(name, str)}


def _file_row(file: ImageFile, root: Path, names: Mapping[str, str]) -> Row:
    inside = Path(file.path).relative_to(root)
    folders = list(_upward(inside))
    where = storable(inside.as_posix())
    if not folders:
        detail = "it lies beside the class folders; put it into one"
        return Row(where, reason="NO_CLASS", detail=detail)
    known = (names.get(folder) or names.get(plain_name(folder)) for folder in folders)
    return Row(where, image=file.path, label=next(filter(None, known), folders[0]))


def _upward(inside: Path) -> Iterator[str]:
    """The folders above a file, the nearest first."""
    return (folder.name for folder in inside.parents if folder.name)


def _safe(name: str) -> str:
    plain = _UNSAFE.sub("_", unicodedata.normalize("NFC", name))
    return plain.encode()[:_NAME_BYTES].decode(errors="ignore").strip(" .") or "_"
