"""Label Studio's JSON on one side, our tables on the other; no network.

What stands inside a `result`, and the labelling screen, are the label kind's (`labeling/kinds`).
"""

import json
import math
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from html import escape
from typing import Any
from urllib.parse import quote

import pandas as pd

from core.hone_toml import LabelClass
from core.rows import records
from core.table_schema import Schema, Type
from labeling.kinds import Kind, UnusableAnswer
from labeling.ledger.answers import ANSWER_COLUMNS
from labeling.ledger.reasons import PROJECT
from labeling.studio.annotations import CLOCK, answer_of, as_text, refusal_of, sample_of

NO_MODEL = "none"  # the version of an empty prediction that no model made
REFUSED_COLUMNS = ["external_id", "sample_id", "annotator", "reason", "detail", "digest"]
OUTGOING = Schema(
    "tasks for Label Studio",
    {
        "sample_id": Type.TEXT,
        "round_id": Type.TEXT,
        "file": Type.TEXT,  # below the document root, or an s3:// address
        "similar": Type.OPTIONAL_TEXT,  # the file of the labelled image that it resembles most
        "stage": Type.TEXT,
        "why": Type.TEXT,
        "pre_annotation": Type.OPTIONAL_TEXT,
        "confidence": Type.OPTIONAL_NUMBER,
        "pre_annotation_model": Type.OPTIONAL_TEXT,
        "blind": Type.BOOLEAN,  # the pre-annotation is not shown
        "required_annotators": Type.INTEGER,
    },
    key=("sample_id",),
)


@dataclass(frozen=True)
class Collected:
    """What one reading found.

    `answers` holds every answer to each sample in `read`: one that is missing there was deleted.
    Two answers by one person are both there; `consensus.settle` is who lets the latest count.
    """

    answers: pd.DataFrame
    read: set[str]
    refused: pd.DataFrame
    watermark: str | None


def source_of(project: int) -> str:
    """The name under which the ledger keeps a project's answers."""
    return f"{PROJECT}{project}"


def instructions(
    purpose: str, classes: Sequence[LabelClass], examples: Mapping[str, Sequence[str]]
) -> str:
    """What annotators read: what it is for, a line and example images for each class."""
    lines = [f"<li>{_class_line(known, examples.get(known.name, ()))}</li>" for known in classes]
    return (
        (f"<h3>{escape(purpose, quote=False)}</h3>" if purpose else "")
        + f"<ul>{''.join(lines)}</ul>"
        + "<p>Skip an image if you cannot tell. Correct an answer of yours by updating it.</p>"
        + "<p>Whoever decides where people disagree: open the image in the tab Disagreements, see "
        + "all answers with Compare All, and add the right one (+): it is the final word. Leave "
        + "the answers of others as they are.</p>"
    )


def project_title(title: str) -> str:
    """`title` within the 3 to 50 characters that Label Studio takes."""
    words = title.strip()[:50].strip()  # the server strips, too, before it counts
    return words if len(words) >= 3 else f"Hone {words}".strip()


def project_description(purpose: str, mark: str) -> str:
    """What the project's page says, with the mark that tells whose project it is."""
    return f"{purpose}\n\nKept by Hone, leave this line: {mark}".strip()


def outgoing_tasks(round_id: str, shown: pd.DataFrame, files: Mapping[str, str]) -> pd.DataFrame:
    """What annotators are shown of a batch, as OUTGOING declares.

    `shown` is the table of `mask_for_annotators`; `files` has the staged image of each sample.
    """
    rows = shown.assign(
        round_id=round_id,
        file=[files[sample_id] for sample_id in shown["sample_id"]],
        similar=shown["most_similar"].map(files).astype(object),
    )
    return OUTGOING.check(rows[list(OUTGOING.columns)])


def tasks_of(outgoing: pd.DataFrame, classes: Collection[str], kind: Kind) -> list[dict[str, Any]]:
    """The JSON that Label Studio imports for OUTGOING tasks, each with its pre-annotation.

    The annotator's browser gets all of it, so that it holds no truth and no score but the
    confidence.
    """
    return [_task_of(row, classes, kind) for row in records(OUTGOING.check(outgoing))]


def pre_annotation_model(outgoing: pd.DataFrame) -> str | None:
    """The one model whose pre-annotations the tasks carry, None where there are none."""
    models = outgoing["pre_annotation_model"].dropna().unique().tolist()
    if len(models) > 1:
        raise ValueError(
            f"the batch has pre-annotations of {', '.join(sorted(models))}; Label Studio sorts by "
            "one model's confidence, so send those of one model at a time"
        )
    return models[0] if models else None


def query(*filters: Mapping[str, Any], order: str | None = None) -> str:
    """A Data Manager query: tasks that pass every filter, in the order of one column."""
    content: dict[str, Any] = {"filters": {"conjunction": "and", "items": list(filters)}}
    if order is not None:
        content["ordering"] = [order]
    return json.dumps(content)


def of_samples(sample_ids: Sequence[str]) -> dict[str, Any]:
    """The filter for tasks of these samples."""
    return {
        "filter": "filter:tasks:data.sample_id",
        "operator": "in_list",
        "type": "List",
        "value": list(sample_ids),
    }


def changed_since(moment: str) -> dict[str, Any]:
    """The filter for tasks that changed at `moment` or after; creating is changing, too."""
    return {
        "filter": "filter:tasks:updated_at",
        "operator": "greater_or_equal",
        "type": "Datetime",
        "value": moment,
    }


def unchanged_since(moment: str) -> dict[str, Any]:
    """The filter for tasks that have not changed after `moment`."""
    return {**changed_since(moment), "operator": "less_or_equal"}


def without_answers() -> list[dict[str, Any]]:
    """The filters for tasks that nobody answered or skipped."""
    columns = ("total_annotations", "cancelled_annotations")
    return [
        {"filter": f"filter:tasks:{column}", "operator": "equal", "type": "Number", "value": 0}
        for column in columns
    ]


def earlier(moment: str, seconds: float) -> str:
    """`moment` that many seconds before."""
    return as_text(
        datetime.strptime(moment, CLOCK).replace(tzinfo=UTC) - timedelta(seconds=seconds)
    )


def classes_chosen(tasks: Iterable[Mapping[str, Any]], kind: Kind) -> set[str]:
    """Every class that some annotation names, whatever became of it."""
    annotations = (one for task in tasks for one in task["annotations"])
    results = (one.get("result") for one in annotations if isinstance(one, Mapping))
    return {name for result in results for name in kind.classes_in(result)}


def collect(
    tasks: Iterable[Mapping[str, Any]],
    *,
    source: str,
    users: Mapping[int, str],
    classes: Collection[str],
    kind: Kind,
    watermark: str | None,
) -> Collected:
    """The answers in `tasks` (whole sets of annotations), and those that can be no label with why.

    One that is starred (marked as ground truth) is its author's final word, whoever set the star;
    one that somebody else edited is its author's, too. Drafts were never submitted and do not
    appear.
    """
    given: list[dict[str, Any]] = []
    refused: list[dict[str, Any]] = []
    read: set[str] = set()
    for task in tasks:
        sample_id = sample_of(task)
        read |= {sample_id} if sample_id else set()
        for annotation in task["annotations"]:
            try:
                given.append(answer_of(annotation, task, users, classes, kind))
            except UnusableAnswer as error:
                refused.append(refusal_of(annotation, task, users, error))
    rows = [{**row, "source": source} for row in given]
    table = pd.DataFrame(rows, columns=ANSWER_COLUMNS, dtype=object)  # so that None stays None
    return Collected(
        answers=table.sort_values(["updated_at", "external_id"], ignore_index=True),
        read=read,
        refused=pd.DataFrame(refused, columns=REFUSED_COLUMNS, dtype=object),
        watermark=watermark,
    )


def _class_line(known: LabelClass, images: Sequence[str]) -> str:
    key = f" (key {escape(known.hotkey, quote=False)})" if known.hotkey else ""
    hint = f": {escape(known.hint, quote=False)}" if known.hint else ""
    # The classes are the page's own, for no style gets there: side by side and all equally high.
    shown = "".join(
        f' <img src="{address_of(image)}" width="96" class="inline h-24 w-auto">'
        for image in images
    )
    rest = f"<br>{shown}" if shown else ""
    return f"<b>{escape(known.name, quote=False)}</b>{key}{hint}{rest}"


def address_of(file: str) -> str:
    """How Label Studio calls a file below its document root; an s3:// address stays what it is."""
    if file.startswith("s3://"):
        return file
    return f"/data/local-files/?d={quote(file)}"


def _task_of(row: Mapping[str, Any], classes: Collection[str], kind: Kind) -> dict[str, Any]:
    content = {
        "image": address_of(str(row["file"])),
        "sample_id": row["sample_id"],
        "round": row["round_id"],
        "stage": row["stage"],
        "why": row["why"],
        "similar": address_of(str(row["similar"])) if row["similar"] else "",
    }
    made: dict[str, Any] = {"data": content, "predictions": []}
    if row["pre_annotation"] is not None:
        made["predictions"] = [_prediction(row, classes, kind)]
    elif row["blind"]:  # with an empty one, nobody fills in a model's answer later
        made["predictions"] = [{"model_version": NO_MODEL, "score": 0.0, "result": []}]
    return made


def _prediction(row: Mapping[str, Any], classes: Collection[str], kind: Kind) -> dict[str, Any]:
    """The pre-annotation; its score is the confidence: Label Studio shows the lowest one first.

    Of a blind one the browser gets the score alone.
    """
    confidence = row["confidence"]
    if row["pre_annotation"] not in classes or not row["pre_annotation_model"]:
        raise ValueError(
            f"sample {row['sample_id']}: the pre-annotation {row['pre_annotation']!r} of "
            f"{row['pre_annotation_model']!r} cannot be shown; the classes are "
            f"{', '.join(classes)}, and a pre-annotation needs its model"
        )
    if confidence is None or not math.isfinite(confidence) or not 0 <= confidence <= 1:
        raise ValueError(
            f"sample {row['sample_id']}: the confidence {confidence} is not from 0 to 1"
        )
    # An empty result has its place in the queue like any other, and preselects nothing.
    result = [] if row["blind"] else kind.result_of(row["pre_annotation"])
    return {
        "model_version": row["pre_annotation_model"],
        "score": float(confidence),
        "result": result,
    }
