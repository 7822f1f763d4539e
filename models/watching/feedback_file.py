"""Truths in a file, CSV or parquet: read a part at a time, each bad row refused by its place."""

import csv
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import date, datetime
from itertools import islice
from pathlib import Path
from typing import Any, BinaryIO

from core.database import now
from core.text import short, storable
from models.serving.feedback_records import FIELDS, Feedback, FeedbackRefused, checked_feedback

PART = 2_000  # rows in memory
LINE_BYTES = 2**14  # of one line of a CSV; a truth takes some 200
SAMPLE = "sample_id"  # in the place of a prediction: the image, and what was answered to it last
COLUMNS = (*FIELDS, SAMPLE)
UNREADABLE = (ArithmeticError, LookupError, ValueError)  # a year 300,000, a zone, a half character
INDEX = "__index_level_"  # begins the name of a column that pandas adds: the numbers of its rows
NEEDED = f"truth and one of prediction_id and {SAMPLE}"


@dataclass(frozen=True)
class RefusedTruth:
    """A row that is no truth: its place in the file, and why."""

    where: str
    reason: str
    detail: str


@dataclass(frozen=True)
class SampleTruth:
    """A truth about an image, without the prediction that it is about."""

    where: str
    sample_id: str
    row: dict[str, Any]


Truth = Feedback | SampleTruth | RefusedTruth


def read_feedback(path: Path) -> Iterator[list[Truth]]:
    """The rows of a file in parts; a file that cannot be read at all is a ValueError."""
    if not path.is_file():
        raise ValueError(f"{path} is no file; name a CSV or a parquet file")
    rows = _parquet_rows(path) if path.suffix.lower() == ".parquet" else _csv_rows(path)
    source = f"file:{storable(path.name)}"[:100]
    truths = (_truth(where, row, source) for where, row in rows)
    while part := list(islice(truths, PART)):
        yield part


def truth_about(given: SampleTruth, prediction_id: str, *, source: str) -> Feedback:
    """The truth about one prediction of the image."""
    row = {**given.row, "prediction_id": prediction_id}
    return checked_feedback(row, received_at=now(), source=source)


def _truth(where: str, row: dict[str, Any] | FeedbackRefused, source: str) -> Truth:
    if isinstance(row, FeedbackRefused):
        return RefusedTruth(where, row.reason, row.detail)
    sample_id = row.pop(SAMPLE, None)
    try:
        if row.get("prediction_id") is None and sample_id is not None:
            checked_feedback({**row, "prediction_id": "0" * 32}, received_at=now(), source=source)
            if not isinstance(sample_id, str):
                raise FeedbackRefused("MALFORMED", f"{SAMPLE} is {short(sample_id)}; send a text")
            return SampleTruth(where, sample_id, {"source": source, **row})
        return checked_feedback(row, received_at=now(), source=source)
    except FeedbackRefused as refused:
        return RefusedTruth(where, refused.reason, refused.detail)


Place = tuple[str, dict[str, Any] | FeedbackRefused]


def _csv_rows(path: Path) -> Iterator[Place]:
    """A line is a row: a quote that is not closed spoils the line that it is in, and no other."""
    with path.open("rb") as file:
        lines = _lines(file)
        _, first = next(lines, (1, b""))
        delimiter, header = _header(path, first)
        for number, line in lines:
            if line is None or line.strip():
                yield f"line {number}", _csv_row(line, delimiter, header)


def _lines(file: BinaryIO) -> Iterator[tuple[int, Any]]:
    """Each line with its number; None for one that is too long to be a row."""
    number = 0
    while line := file.readline(LINE_BYTES):
        number += 1
        is_whole = line.endswith(b"\n") or len(line) < LINE_BYTES
        yield number, line if is_whole else None
        while not is_whole and (line := file.readline(LINE_BYTES)):
            is_whole = line.endswith(b"\n")


def _header(path: Path, line: bytes | None) -> tuple[str, list[str]]:
    text = (line or b"").decode("utf-8-sig", "replace")
    for delimiter in ",;\t":
        cells = _cells(text, delimiter) or []
        header = [cell.strip().casefold() for cell in cells]
        if "truth" in header and {"prediction_id", SAMPLE} & set(header):
            _refuse_columns(path, header)
            return delimiter, header
    raise ValueError(
        f"{path}: its first line is {short(text.strip())}; a header with {NEEDED} is needed, "
        "parted by commas, semicolons or tabs; a file in parquet ends in .parquet"
    )


def _csv_row(
    line: bytes | None, delimiter: str, header: Sequence[str]
) -> dict[str, Any] | FeedbackRefused:
    if line is None:
        return FeedbackRefused("MALFORMED", f"the line has more than {LINE_BYTES:,} bytes")
    try:
        text = line.decode()
    except UnicodeDecodeError as error:
        return FeedbackRefused("NOT_UTF8", f"byte {error.start} of the line; save it in UTF-8")
    cells = _cells(text, delimiter)
    if cells is None:
        return FeedbackRefused("MALFORMED", "a quote is not closed, or text follows it")
    if len(cells) != len(header):
        detail = f"{len(cells)} columns where the header has {len(header)}; quote its text"
        return FeedbackRefused("MALFORMED", detail)
    return {name: cell.strip() or None for name, cell in zip(header, cells, strict=True)}


def _cells(text: str, delimiter: str) -> list[str] | None:
    try:
        return next(csv.reader([text.rstrip("\r\n")], delimiter=delimiter, strict=True), [])
    except csv.Error:
        return None


def _refuse_columns(path: Path, names: Sequence[str]) -> None:
    doubled = sorted({name for name in names if names.count(name) > 1})
    unknown = sorted(set(names) - set(COLUMNS))
    if doubled or unknown:
        what = f"stands twice: {doubled[0]!r}" if doubled else f"is not known: {short(unknown[0])}"
        raise ValueError(f"{path}: a column {what}; known are {', '.join(COLUMNS)}")


def _parquet_rows(path: Path) -> Iterator[Place]:
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        with pq.ParquetFile(path) as file:
            names = [name for name in file.schema_arrow.names if not name.startswith(INDEX)]
            if "truth" not in names or not {"prediction_id", SAMPLE} & set(names):
                shown = short(names)
                raise ValueError(f"{path}: its columns are {shown}; {NEEDED} are needed")
            _refuse_columns(path, names)
            number = 0
            for batch in file.iter_batches(PART, columns=names):
                for row in _rows_of(batch):
                    number += 1
                    yield f"row {number}", row
    except (pa.ArrowException, OSError) as error:
        raise ValueError(f"{path} cannot be read as parquet: {short(str(error))}") from error


def _rows_of(batch: Any) -> Iterator[dict[str, Any] | FeedbackRefused]:
    """The rows of a batch; a value that Python has no form of spoils its row and no other."""
    try:
        rows = batch.to_pylist()
    except UNREADABLE as error:
        if len(batch) == 1:
            detail = f"a value cannot be read: {short(str(error))}"
            yield FeedbackRefused("MALFORMED", detail)
            return
        for place in range(len(batch)):
            yield from _rows_of(batch.slice(place, 1))
        return
    for row in rows:
        yield {name: _value(value) for name, value in row.items()}


def _value(value: Any) -> Any:
    """A cell as JSON would have it: a time as text, a class that is a number as its digits."""
    if isinstance(value, datetime | date):
        return value.isoformat()
    return str(value) if isinstance(value, int) and not isinstance(value, bool) else value
