"""Labels that were written down elsewhere, as rows: CSV files and class-per-folder trees.

`json_files` reads the two JSON formats. A reader turns a file into rows, and says of
each row that can be no answer why; it looks into no image and no database.
"""

import csv
import io
import json
import math
import unicodedata
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, NamedTuple

from labeling.ingest.files import FoundFile, files_under

IMAGE_COLUMNS = ("image", "path", "file", "filename", "file_name")
LABEL_COLUMNS = ("label", "class", "category", "choice")
FOLDER_NAMES = "classes.json"  # in an exported tree: folder name -> class, where they differ
SHOWN = 20  # names listed in a message at most


class Row(NamedTuple):
    """What one place of a label file says about one image."""

    where: str  # where in the file: "line 7", "task 3"
    image: str | None = None
    sample_id: str | None = None
    label: str | None = None  # None for a skip, and for an image without a label
    kind: str = "answer"  # or "skip", "verdict"
    annotator: str | None = None
    answered_at: str | None = None  # UTC, so that it sorts
    lead_time: float | None = None
    reason: str | None = None  # why it can be no answer
    detail: str | None = None

    @property
    def says_nothing(self) -> bool:
        """Whether it only names an image, which nobody labelled."""
        return self.kind == "answer" and not self.reason and not (self.label or "").strip()


@dataclass(frozen=True)
class LabelFile:
    """A label file as it was read."""

    path: Path
    rows: list[Row]
    notes: list[str] = field(default_factory=list)  # what of it was left aside

    @property
    def source(self) -> str:
        """The name under which the ledger keeps its answers."""
        return source_of(self.path)


def source_of(path: Path) -> str:
    """What the answers of a label file are known by."""
    return f"import:{storable(path.resolve().name)}"


def read_csv(path: Path, classes: Sequence[str]) -> LabelFile:
    """The rows of a table in UTF-8 with a header; commas, semicolons or tabs part its columns."""
    text = text_of(path)
    delimiter, columns = _columns(text, path)
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=delimiter)
    rows = []
    try:
        width = len(next(filter(None, reader)))
        for cells in filter(None, reader):
            where = f"line {reader.line_num}"
            if len(cells) == width:
                rows.append(_csv_row(where, {key: cells[at] for key, at in columns.items()}))
            else:
                detail = f"{len(cells)} columns where the header has {width}; quote its text"
                rows.append(Row(where, reason="MALFORMED", detail=detail))
    except csv.Error as error:
        raise ValueError(f"{path}, line {reader.line_num}: {error}; is it a CSV file?") from error
    return LabelFile(path, _not_none(rows, path))


def read_folders(path: Path, classes: Sequence[str]) -> LabelFile:
    """The images below `path`; the nearest folder above an image that names a class is its label.

    So `cat/1.png`, `train/cat/1.png` and `cat/night/1.png` are all of class cat.
    """
    if not path.is_dir():
        raise ValueError(f"{path} is no folder; name the one with a folder for each class")
    root = path.resolve()
    names = {**same_name(classes), **{name: name for name in classes}, **_folder_names(root)}
    found, skipped = files_under([root])
    rows = [_file_row(file, root, names) for file in found]
    rows = [row for row in rows if row.where != FOLDER_NAMES]
    if not any(row.label in classes for row in rows):
        folders = sorted(entry.name for entry in root.iterdir() if entry.is_dir())
        raise ValueError(
            f"{path}: none of its folders is a class; it has {listed(folders) or 'no folders'}, "
            f"the classes of hone.toml are {listed(classes)}; name the folder that has one folder "
            "for each class, or the label file in it"
        )
    notes = [f"{skipped} hidden files and links were skipped"] if skipped else []
    return LabelFile(path, rows, notes)


def text_of(path: Path) -> str:
    """A label file's text; one that is empty or in another encoding is an error."""
    if not path.is_file():
        raise ValueError(f"{path} is no file; name a label file, or a folder with --format folders")
    try:
        text = path.read_bytes().decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise ValueError(
            f"{path} is not in UTF-8 (byte {error.start}); save it so, in Excel as 'CSV UTF-8'"
        ) from error
    if not text.strip():
        raise ValueError(f"{path} is empty; there is nothing to import")
    return text


def moment(said: Any) -> str | None:
    """A time as UTC text, None for none; what is no time is a `ValueError`."""
    if said is None or not str(said).strip():
        return None
    found = datetime.fromisoformat(str(said).strip())
    found = found.replace(tzinfo=found.tzinfo or UTC).astimezone(UTC)
    return found.isoformat(timespec="microseconds")


def seconds(said: Any) -> float | None:
    """A duration, None for whatever is none."""
    try:
        found = float(said)
    except (TypeError, ValueError):
        return None
    return found if math.isfinite(found) and found >= 0 else None


def storable(text: str) -> str:
    """The text as every database takes it: without half characters and zero bytes."""
    return text.replace("\0", "\\0").encode("utf-8", "backslashreplace").decode()


def listed(names: Sequence[str]) -> str:
    """The names, the first of many."""
    more = f" and {len(names) - SHOWN} more" if len(names) > SHOWN else ""
    return storable(", ".join(names[:SHOWN])) + more


def short(value: Any) -> str:
    """What a value looks like, in one line."""
    words = repr(value)
    return storable(words if len(words) <= 80 else f"{words[:77]}...")


def plain_name(name: str) -> str:
    """A name however its accents are composed, and without the blanks around it."""
    return unicodedata.normalize("NFC", name).strip()


def same_name(names: Sequence[str]) -> dict[str, str]:
    """Each class by its plain name."""
    return {plain_name(name): name for name in names}


def _columns(text: str, path: Path) -> tuple[str, dict[str, int]]:
    """What parts the columns, and which of them mean something to us."""
    headers = []
    for delimiter in ",;\t":
        reader = csv.reader(io.StringIO(text, newline=""), delimiter=delimiter)
        header = [name.strip().casefold() for name in next(filter(None, reader), [])]
        headers.append(header)
        places = {name: at for at, name in reversed(list(enumerate(header)))}
        image = next((places[name] for name in IMAGE_COLUMNS if name in places), None)
        label = next((places[name] for name in LABEL_COLUMNS if name in places), None)
        if label is not None and (image is not None or "sample_id" in places):
            known = {"image": image, "label": label}
            more = ("sample_id", "annotator", "answered_at", "lead_time")
            known |= {name: places.get(name) for name in more}
            return delimiter, {name: at for name, at in known.items() if at is not None}
    raise ValueError(
        f"{path}: its first line names the columns {short(max(headers, key=len))}; one of "
        f"{', '.join(IMAGE_COLUMNS)}, sample_id and one of {', '.join(LABEL_COLUMNS)} are needed"
    )


def _csv_row(where: str, cells: Mapping[str, str]) -> Row:
    row = Row(
        where,
        image=cells.get("image") or None,
        sample_id=cells.get("sample_id") or None,
        label=cells.get("label") or None,
        annotator=cells.get("annotator") or None,
        lead_time=seconds(cells.get("lead_time")),
    )
    try:
        return row._replace(answered_at=moment(cells.get("answered_at")))
    except ValueError:
        wrong = short(cells["answered_at"])
        detail = f"answered_at is {wrong}; write it like 2026-11-21T10:00:00Z, or leave it empty"
        return row._replace(reason="BAD_TIME", detail=detail)


def _not_none(rows: list[Row], path: Path) -> list[Row]:
    if not rows:
        raise ValueError(f"{path} has a header and no rows; there is nothing to import")
    return rows


def _folder_names(root: Path) -> dict[str, str]:
    """What an exported tree says its folders stand for; somebody else's file says nothing."""
    try:
        found = json.loads((root / FOLDER_NAMES).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    entries = found.items() if isinstance(found, dict) else ()
    return {folder: name for folder, name in entries if isinstance(name, str)}


def _file_row(file: FoundFile, root: Path, names: Mapping[str, str]) -> Row:
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
