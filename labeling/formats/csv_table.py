"""CSV: a table in UTF-8 with a header, one line for each image."""

import csv
import io
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from core.moments import moment
from core.text import short
from labeling.formats.export_rows import Export, as_json
from labeling.formats.rows import (
    IMAGE_COLUMNS,
    LABEL_COLUMNS,
    LabelFile,
    Row,
    cell_of,
    seconds,
    text_of,
    value_of,
)
from labeling.kinds import Kind

RECORD_LINES = 16  # of one row: text in quotes may have line breaks
CSV_COLUMNS = [
    *("sample_id", "image", "label", "split", "trust", "annotators", "source", "round_id"),
    *("settled_at", "group_id", "inclusion_probability", "origin", "width", "height"),
    "file_name",  # where the image was ingested from
]


def read_csv(path: Path, classes: Sequence[str], kind: Kind) -> LabelFile:
    """The rows of a table in UTF-8 with a header; commas, semicolons or tabs part its columns."""
    header, records = read_table(path, ((*IMAGE_COLUMNS, "sample_id"), LABEL_COLUMNS))
    columns, rows = _meanings(header), list[Row]()
    for where, cells, detail in records:
        if cells is None:
            rows.append(Row(where, reason="MALFORMED", detail=detail))
        else:
            values = {name: value_of(cells[place]) for name, place in columns.items()}
            rows.append(_csv_row(where, values))
    return LabelFile(path, _not_none(rows, path))


def read_table(
    path: Path, needed: Sequence[Sequence[str]]
) -> tuple[list[str], Iterator[tuple[str, list[str] | None, str]]]:
    """The columns of a table, and each record with its place; without cells it is malformed.

    The header names one column of each group of `needed`; of a malformed record there is why.
    """
    lines = list(io.StringIO(text_of(path), newline=""))
    delimiter, header, at = _header(lines, path, needed)
    return header, _records(lines, at, delimiter, len(header))


def _records(
    lines: Sequence[str], at: int, delimiter: str, width: int
) -> Iterator[tuple[str, list[str] | None, str]]:
    while at < len(lines):
        cells, read = _record(lines[at : at + RECORD_LINES], delimiter)
        where, at = f"line {at + 1}", at + read
        if cells is None:
            detail = f"a quote is not closed within {RECORD_LINES} lines, or text follows it"
            yield where, None, f"{detail}; double quotes in text"
        elif cells and len(cells) != width:
            detail = f"{len(cells)} columns where the header has {width}; quote its text"
            yield where, None, detail
        elif cells:
            yield where, cells, ""


def _record(lines: Sequence[str], delimiter: str) -> tuple[list[str] | None, int]:
    """The cells of the first record and its number of lines; None and 1 where it is malformed.

    So a quote that is not closed spoils the line that it is in, not all that follow.
    """
    reader = csv.reader(iter(lines), delimiter=delimiter, strict=True)
    try:
        return next(reader), reader.line_num
    except csv.Error:
        return None, 1


def write_csv(export: Export, folder: Path) -> None:
    """One line for each row; annotators are a JSON list."""
    table = export.rows[CSV_COLUMNS].assign(annotators=export.rows["annotators"].map(as_json))
    with (folder / f"{export.name}.csv").open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(CSV_COLUMNS)
        writer.writerows(map(cell_of, row) for row in table.itertuples(index=False))


def _header(
    lines: Sequence[str], path: Path, needed: Sequence[Sequence[str]]
) -> tuple[str, list[str], int]:
    """What parts the columns, their names, and how many lines the header ends after."""
    headers = []
    blank = next(at for at, line in enumerate(lines) if line.strip("\r\n"))
    for delimiter in ",;\t":
        cells, read = _record(lines[blank : blank + RECORD_LINES], delimiter)
        header = [name.strip().casefold() for name in cells or []]
        headers.append(header)
        if all(set(names) & set(header) for names in needed):
            return delimiter, header, blank + read
    groups = " and ".join(f"one of {', '.join(names)}" for names in needed)
    raise ValueError(
        f"{path}: its first line names the columns {short(max(headers, key=len))}; "
        f"{groups} {'are' if len(needed) > 1 else 'is'} needed"
    )


def _meanings(header: Sequence[str]) -> dict[str, int]:
    """Which of the columns mean something to us."""
    places = {name: at for at, name in reversed(list(enumerate(header)))}
    more = ("sample_id", "annotator", "answered_at", "lead_time")
    known = {name: places.get(name) for name in more}
    known["image"] = next((places[name] for name in IMAGE_COLUMNS if name in places), None)
    known["label"] = next((places[name] for name in LABEL_COLUMNS if name in places), None)
    return {name: at for name, at in known.items() if at is not None}


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
