"""The rows of label files, and what their readers have in common.

A reader turns a file into rows, each with a label or with the reason why it has none; it opens no
image and no database.
"""

import json
import math
import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

from core.hone_toml import plain_name
from core.text import storable

IMAGE_COLUMNS = ("image", "path", "file", "filename", "file_name")
# Cells that spreadsheets would run as formulas get a quote in front, as people write them there.
FORMULA = re.compile(r"'*[=+\-@\t\r]")
LONGEST_NUMBER = 400  # digits; Python refuses to read thousands
LABEL_COLUMNS = ("label", "class", "category", "choice")


class Row(NamedTuple):
    """One place of a label file, about one image."""

    where: str  # where in the file: "line 7", "task 3"
    image: str | None = None
    sample_id: str | None = None
    label: str | None = None  # None for a skip, and for an image without a label
    kind: str = "answer"  # or "skip", "verdict"
    annotator: str | None = None
    answered_at: str | None = None  # UTC, so that it sorts
    lead_time: float | None = None
    reason: str | None = None  # why it is no answer
    detail: str | None = None

    @property
    def is_unlabelled(self) -> bool:
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
    """The source that the ledger records for the answers of a label file."""
    return f"import:{storable(path.resolve().name)}"


def text_of(path: Path) -> str:
    """A label file's text; one that is empty or in another encoding is an error."""
    if not path.is_file():
        raise ValueError(f"{path} is no file; name a label file, or a folder with --format folders")
    try:
        text = path.read_bytes().decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = 1 + error.object.count(b"\n", 0, error.start)
        raise ValueError(
            f"{path} is not in UTF-8 (line {line}, byte {error.start}); save it so, in Excel as "
            "'CSV UTF-8'"
        ) from error
    if not text.strip():
        raise ValueError(f"{path} is empty; there is nothing to import")
    return text


def cell_of(value: Any) -> Any:
    """A value as a cell of a table that people open in a spreadsheet; `value_of` reads it."""
    return f"'{value}" if isinstance(value, str) and FORMULA.match(value) else value


def value_of(cell: str) -> str:
    """The text that `cell_of` wrote, or what somebody else did."""
    return cell[1:] if cell.startswith("'") and FORMULA.match(cell) else cell


def load_json(path: Path) -> Any:
    """The content of a JSON file; one that is cut short is an error with its remedy."""
    text = text_of(path)
    try:
        return json.loads(text, parse_int=_whole_number)
    except RecursionError as error:
        raise ValueError(f"{path} is nested too deeply for a label file") from error
    except ValueError as error:
        raise ValueError(
            f"{path} is no JSON: {error}; was it cut short? Export it again, or name another "
            "format with --format"
        ) from error


def _whole_number(digits: str) -> float:
    """A whole number; one that no id or count has is an infinity, which spoils its row alone."""
    return int(digits) if len(digits) <= LONGEST_NUMBER else float(digits)


def seconds(value: Any) -> float | None:
    """A duration, None for whatever is none."""
    try:
        duration = float(value)
    except (TypeError, ValueError, OverflowError):
        return None
    return duration if math.isfinite(duration) and duration >= 0 else None


def same_name(names: Sequence[str]) -> dict[str, str]:
    """Each class by its plain name."""
    return {plain_name(name): name for name in names}
