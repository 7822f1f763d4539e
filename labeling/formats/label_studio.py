"""Export files of Label Studio, JSON and JSON-MIN: read as rows, written from a snapshot."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from core.moments import moment
from core.text import short
from labeling.formats.export_rows import Export, as_json
from labeling.formats.rows import (
    LABEL_COLUMNS,
    LabelFile,
    Row,
    load_json,
    seconds,
    source_of,
)
from labeling.kinds import Kind
from labeling.studio.export_file import ExportedAnswer, exported_answers, exported_task


def read_label_studio(path: Path, classes: Sequence[str], kind: Kind) -> LabelFile:
    """The annotations of an export in Label Studio's JSON or JSON-MIN, and images without one."""
    answers = exported_answers(load_json(path), kind, classes=classes, value_fields=LABEL_COLUMNS)
    rows = [_row(answer, source_of(path)) for answer in answers]
    if not any(row.image or row.sample_id for row in rows):
        raise ValueError(
            f"{path} is no JSON or JSON-MIN export of Label Studio: a list of tasks with an image "
            "or a sample_id is needed; export the project as JSON, or name another --format"
        )
    return LabelFile(path, rows)


def write_label_studio(export: Export, folder: Path) -> None:
    """A task with one annotation for each row, as Label Studio exports and imports them."""
    with (folder / f"{export.name}.json").open("w", encoding="utf-8") as file:
        before = "["
        for number, row in enumerate(export.rows.itertuples(), start=1):
            fields = {
                name: getattr(row, name) for name in ("sample_id", "split", "trust", "file_name")
            }
            annotators: Any = row.annotators
            task = exported_task(
                number,
                export.kind,
                str(row.label),
                image=str(row.image),
                fields=fields,
                answered_at=str(row.settled_at),
                email=annotators[0] if len(annotators) == 1 and "@" in annotators[0] else None,
            )
            file.write(f"{before}\n{as_json(task)}")
            before = ","
        file.write("\n]\n")


def _row(answer: ExportedAnswer, source: str) -> Row:
    # An id is unique on that server only, so that it must not meet another server's.
    user = answer.user
    annotator = f"{source}:user-{user}" if isinstance(user, int) else user
    reason, detail, answered_at = answer.reason, answer.detail, None
    try:
        answered_at = moment(answer.answered_at)
    except ValueError:
        wrong = short(answer.answered_at)
        reason, detail = "BAD_TIME", f"updated_at is {wrong}; write it like 2026-11-21T10:00:00Z"
    return Row(
        answer.where,
        image=answer.image,
        sample_id=answer.sample_id,
        label=answer.value,
        kind=answer.kind,
        annotator=annotator,
        answered_at=answered_at,
        lead_time=seconds(answer.lead_time),
        reason=reason,
        detail=detail,
    )
