"""Metadata of images: a table that names an image in each line, and says something of it.

A row that cannot be taken is refused with its place, the cause and the remedy, and the rest goes
on.
"""

import re
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

from core.text import counted, listed, printable, short
from labeling.formats.csv_table import read_table
from labeling.formats.image_lookup import Absent
from labeling.formats.import_result import RefusedRow
from labeling.formats.rows import IMAGE_COLUMNS, LABEL_COLUMNS, value_of
from labeling.ledger.metadata import DERIVED, MOST_COLUMNS

LONGEST_VALUE = 200  # characters
ANSWERS = (*LABEL_COLUMNS, "annotator", "answered_at", "lead_time")  # `hone import` reads these
KNOWN = (*DERIVED, "source")  # slices of every verdict, without a file
_COLUMN = re.compile(r"[\w.:/%()+-]{1,50}")


class MetadataRow(NamedTuple):
    """One line of the table, about one image."""

    where: str  # "line 7"
    image: str = ""
    sample_id: str = ""
    values: Mapping[str, str] = {}
    reason: str = ""  # why it is not taken
    detail: str = ""


@dataclass(frozen=True)
class MetadataFile:
    """A table of metadata as it was read."""

    path: Path
    columns: list[str]
    rows: list[MetadataRow]
    notes: list[str] = field(default_factory=list)  # what of it was left aside


@dataclass(frozen=True)
class MatchedMetadata:
    """The values by sample, and each row that was refused."""

    values: dict[str, dict[str, str]]
    refused: list[RefusedRow]


def read_metadata(path: Path) -> MetadataFile:
    """The rows of a table in UTF-8 with a header; commas, semicolons or tabs part its columns."""
    path = Path(path).expanduser()
    if not path.exists():
        raise ValueError(f"{path} does not exist; name a table with a column that names the images")
    header, records = read_table(path, ((*IMAGE_COLUMNS, "sample_id"),))
    places, notes = _columns(header, path)
    images = [header.index(name) for name in IMAGE_COLUMNS if name in header][:1]
    ids = [header.index("sample_id")] if "sample_id" in header else []
    rows = []
    for where, cells, detail in records:
        if cells is None:
            rows.append(MetadataRow(where, reason="MALFORMED", detail=detail))
            continue
        image, sample_id = ("".join(value_of(cells[at]) for at in one) for one in (images, ids))
        row = MetadataRow(where, image, sample_id)
        values = {name: printable(value_of(cells[at])).strip() for name, at in places.items()}
        rows.append(_checked(row, {name: value for name, value in values.items() if value}))
    if not rows:
        raise ValueError(f"{path} has a header and no rows; there is nothing to take in")
    return MetadataFile(path, list(places), rows, notes)


def match_metadata(
    file: MetadataFile, samples: Mapping[str, str | Absent], ours: set[str]
) -> MatchedMetadata:
    """The values of each sample; `samples` are those of the image names, `ours` all that exist."""
    values: dict[str, dict[str, str]] = defaultdict(dict)
    given: dict[tuple[str, str], str] = {}  # where the value of a sample's column stands
    refused = []
    for row in file.rows:
        sample = row.sample_id if row.sample_id in ours else samples.get(row.image)
        problem = Absent(row.reason, row.detail) if row.reason else None
        if problem is None and not isinstance(sample, str):
            which = row.image or row.sample_id
            unknown = f"{short(which)} is no image of this workspace; name its file"
            problem = sample or Absent("NO_SUCH_SAMPLE", unknown)
        if problem is None and isinstance(sample, str):
            problem = _contradiction(row, values[sample], sample, given)
        if problem is not None:
            refused.append(RefusedRow(row.where, row.image or None, *problem))
        elif isinstance(sample, str):
            values[sample] |= row.values
            given |= {(sample, name): row.where for name in row.values}
    return MatchedMetadata({one: named for one, named in values.items() if named}, refused)


def _columns(header: Sequence[str], path: Path) -> tuple[dict[str, int], list[str]]:
    """The place of each column of metadata, and what is left out."""
    names = ["_".join(name.split()) for name in header]
    left_out = [name for name in names if name in (*ANSWERS, *KNOWN)]
    places = {name: at for at, name in enumerate(names)
              if name and name not in (*IMAGE_COLUMNS, "sample_id", *left_out)}  # fmt: skip
    if wrong := [name for name in places if not _COLUMN.fullmatch(name)]:
        raise ValueError(f"{path}: the column {short(wrong[0])} has signs that no name of a slice "
                         "has, or more than 50; rename it in letters and digits")  # fmt: skip
    if doubled := [name for name in places if names.count(name) > 1]:
        raise ValueError(f"{path}: the column {short(doubled[0])} occurs twice; rename one")
    if len(places) > MOST_COLUMNS:
        raise ValueError(f"{path} has {counted(len(places), 'column')} of metadata, at most "
                         f"{MOST_COLUMNS} are stored; leave some out")  # fmt: skip
    if not places:
        raise ValueError(f"{path} names images and nothing about them; add a column, such as "
                         "camera")  # fmt: skip
    notes = []
    if left_out:
        notes.append(f"left out: {listed(left_out)} (labels are for `hone import`; "
                     f"{', '.join(KNOWN)} are known already)")  # fmt: skip
    return places, notes


def _checked(row: MetadataRow, values: Mapping[str, str]) -> MetadataRow:
    """The row with its values, or with the reason why it cannot be taken."""
    if not (row.image or row.sample_id):
        return row._replace(reason="NO_IMAGE", detail="it names no image; name its file")
    if long := [name for name, value in values.items() if len(value) > LONGEST_VALUE]:
        detail = f"{long[0]} has more than {LONGEST_VALUE} characters; shorten it"
        return row._replace(reason="TOO_LONG", detail=detail)
    return row._replace(values=values)


def _contradiction(
    row: MetadataRow,
    before: Mapping[str, str],
    sample: str,
    given: Mapping[tuple[str, str], str],
) -> Absent | None:
    """Why the row cannot be taken beside what earlier rows say of the same image."""
    for name, value in row.values.items():
        if before.get(name, value) != value:
            what = f"{name} is {short(before[name])} in {given[sample, name]}, {short(value)} here"
            return Absent("CONTRADICTION", f"{what}, for the same image; correct one of them")
    return None
