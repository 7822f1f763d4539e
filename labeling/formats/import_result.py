"""What became of an import: counts of images and rows, and each row that was refused."""

from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, field

from labeling.formats.rows import Row

MAX_NAMED = 3  # refused rows of one reason that `problems` has in full


@dataclass(frozen=True)
class ImageCounts:
    """How many images of a label file are new, known, and refused by reason."""

    added: int
    known: int
    refused: dict[str, int]


@dataclass(frozen=True)
class RowCounts:
    """How many rows of a label file are new, known, withdrawn, and refused by reason."""

    new: int
    known: int
    withdrawn: int
    refused: dict[str, int]


@dataclass(frozen=True)
class RefusedRow:
    """A row of a label file that is no answer, and why."""

    where: str  # in the file: "line 7"
    path: str | None  # the image as the file names it
    reason: str
    detail: str


@dataclass(frozen=True)
class RecordedRows:
    """What became of the rows of a label file."""

    counts: RowCounts
    unlabelled: int  # images that the file names without a label
    refused: list[RefusedRow] = field(default_factory=list)

    @property
    def problems(self) -> list[str]:
        """A line for the first few refused rows of each reason, and how many more there are."""
        by_reason: dict[str, list[RefusedRow]] = defaultdict(list)
        for row in self.refused:
            by_reason[row.reason].append(row)
        lines = []
        for reason, rows in sorted(by_reason.items()):
            lines += [f"{reason}: {row.where}: {row.detail}" for row in rows[:MAX_NAMED]]
            more = len(rows) - MAX_NAMED
            lines += [f"{reason}: {more} more"] if more > 0 else []
        return lines


@dataclass(frozen=True)
class ImportResult:
    """What became of an import; either `answers` or `gold` is None."""

    source: str
    images: ImageCounts
    answers: RowCounts | None
    gold: RowCounts | None
    unlabelled: int
    labels: dict[str, int]  # how the labels changed
    notes: list[str]
    problems: list[str]
    refused: list[RefusedRow]


def recorded_rows(
    rows: Sequence[Row], *, new: int, valid: int, withdrawn: int, unlabelled: int
) -> RecordedRows:
    """The result of recording these rows, of which `valid` were no refusals and `new` were new."""
    refused = [
        RefusedRow(row.where, row.image, row.reason, row.detail or "") for row in rows if row.reason
    ]
    by_reason = dict(Counter(row.reason for row in refused))
    counts = RowCounts(new=new, known=valid - new, withdrawn=withdrawn, refused=by_reason)
    return RecordedRows(counts, unlabelled, refused)
