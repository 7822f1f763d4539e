"""CSV: a table in UTF-8 with a header, one line for each image."""

import csv
import io
from collections.abc import Mapping, Sequence
from pathlib import Path

from core.text import short
from labeling.formats.export_rows import Export, as_json
from labeling.formats.rows import (
    IMAGE_COLUMNS,
    LABEL_COLUMNS,
    LabelFile,
    Row,
    cell_of,
    moment,
    seconds,
    text_of,
    value_of,
)
from labeling.kinds import Kind

CSV_COLUMNS = [
    *("sample_id", "image", "label", "split", "trust", "annotators", "source", "round_id"),
    *("settled_at", "group_id", "inclusion_probability", "origin", "width", "height"),
    "file_name",  # where the image was ingested from
]


def read_csv(path: Path, classes: Sequence[str], kind: Kind) -> LabelFile:
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
                rows.append(
                    _csv_row(where, {key: value_of(cells[at]) for key, at in columns.items()})
                )
            else:
                detail = f"{len(cells)} columns where the header has {width}; quote its text"
                rows.append(Row(where, reason="MALFORMED", detail=detail))
    except csv.Error as error:
        raise ValueError(f"{path}, line {reader.line_num}: {error}; is it a CSV file?") from error
    return LabelFile(path, _not_none(rows, path))


def write_csv(export: Export, folder: Path) -> None:
    """One line for each row; annotators are a JSON list."""
    table = export.rows[CSV_COLUMNS].assign(annotators=export.rows["annotators"].map(as_json))
    with (folder / f"{export.name}.csv").open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(CSV_COLUMNS)
        writer.writerows(map(cell_of, row) for row in table.itertuples(index=False))


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
