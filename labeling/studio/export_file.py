"""Label Studio's export files: the answers in its JSON and JSON-MIN, and tasks that it imports."""

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any
from urllib.parse import quote

from core.text import short
from labeling.kinds import Kind, UnusableAnswer

# What a row of a JSON-MIN export has besides the fields of its task and the chosen value.
ABOUT = {"id", "annotator", "annotation_id", "created_at", "updated_at", "lead_time", "agreement",
         "image", "sample_id"}  # fmt: skip
_IMAGE = re.compile(r"^/data/|\.(jpe?g|png|webp|bmp|tiff?)$", re.IGNORECASE)


@dataclass(frozen=True)
class ExportedAnswer:
    """What an export says of one image: an annotation, or that nobody annotated it (no value)."""

    where: str  # in the file: "task 3"
    image: str | None
    sample_id: str | None
    kind: str = "answer"  # or "skip", "verdict"
    value: str | None = None
    user: str | int | None = None  # e-mail address, or an id that holds on that server alone
    answered_at: Any = None  # as the file has it
    lead_time: Any = None
    reason: str | None = None  # why no label can rest on it
    detail: str | None = None


def exported_answers(
    entries: object, kind: Kind, *, classes: Sequence[str], value_fields: Sequence[str]
) -> tuple[list[ExportedAnswer], int]:
    """The answers in an export, and how many of its entries are no tasks.

    `value_fields` are usual names of the field that holds the value in a JSON-MIN export; where
    none is there, it is the field with names of `classes`. Predictions and drafts are nobody's
    answer and do not appear.
    """
    tasks = _objects(entries)
    nested = [task for task in tasks if isinstance(task.get("data"), dict)]
    if nested:
        answers = [answer for task in nested for answer in _task_answers(task, kind)]
    else:
        answers = list(_flat_answers(tasks, kind, classes, value_fields))
    total = len(entries) if isinstance(entries, list | dict) else 0
    return answers, total - len(nested or tasks)


def exported_task(
    number: int,
    kind: Kind,
    value: str,
    *,
    image: str,
    fields: Mapping[str, Any],
    answered_at: str,
    email: str | None,
) -> dict[str, Any]:
    """A task with one annotation, as Label Studio exports and imports them.

    `image` is a path below its document root, `fields` are shown beside it.
    """
    content = {"image": f"/data/local-files/?d={quote(image)}", **fields}
    regions = [
        {"id": f"{number}-{place}", **region} for place, region in enumerate(kind.result_of(value))
    ]
    at = answered_at.replace("+00:00", "Z")
    annotation = {"id": number, "result": regions, "was_cancelled": False, "ground_truth": False,
                  "created_at": at, "updated_at": at}  # fmt: skip
    if email is not None:
        annotation["completed_by"] = {"email": email}
    return {"id": number, "data": content, "annotations": [annotation], "predictions": []}


def _task_answers(task: Mapping[str, Any], kind: Kind) -> Iterator[ExportedAnswer]:
    content = task["data"]
    unanswered = ExportedAnswer(
        f"task {short(task.get('id'))}", _image_in(content), _text(content.get("sample_id"))
    )
    annotations = _objects(task.get("annotations") or task.get("completions"))
    for annotation in sorted(annotations, key=lambda one: str(one.get("updated_at") or "")):
        answer = _signed(unanswered, annotation, annotation.get("completed_by"))
        if annotation.get("was_cancelled") or annotation.get("skipped"):
            yield replace(answer, kind="skip")
        else:
            word = "verdict" if annotation.get("ground_truth") else "answer"
            result = _objects(annotation.get("result"))
            yield _valued(replace(answer, kind=word), kind, result)
    if not annotations:
        yield unanswered


def _flat_answers(
    tasks: Sequence[Mapping[str, Any]],
    kind: Kind,
    classes: Sequence[str],
    value_fields: Sequence[str],
) -> Iterator[ExportedAnswer]:
    """Of a JSON-MIN export, where the fields of task and annotation stand side by side."""
    field = _value_field(tasks, classes, value_fields)
    for task in tasks:
        content = {key: value for key, value in task.items() if key != field}
        unanswered = ExportedAnswer(
            f"task {short(task.get('id'))}", _image_in(content), _text(task.get("sample_id"))
        )
        result = task.get(field) if field else None
        if result in (None, "", []):
            yield unanswered
        else:
            yield _valued(_signed(unanswered, task, task.get("annotator")), kind, result)


def _signed(answer: ExportedAnswer, annotation: Mapping[str, Any], user: Any) -> ExportedAnswer:
    """The answer with who gave it and when."""
    if isinstance(user, dict):
        user = user.get("email") or user.get("id")
    return replace(
        answer,
        user=user if isinstance(user, int) else _text(user),
        answered_at=annotation.get("updated_at") or annotation.get("created_at"),
        lead_time=annotation.get("lead_time"),
    )


def _valued(answer: ExportedAnswer, kind: Kind, result: object) -> ExportedAnswer:
    """The answer with its value, or with the reason why it has none."""
    try:
        return replace(answer, value=kind.value_of_export(result))
    except UnusableAnswer as error:
        return replace(answer, reason=error.reason, detail=error.detail)


def _value_field(
    tasks: Sequence[Mapping[str, Any]], classes: Sequence[str], value_fields: Sequence[str]
) -> str | None:
    """The field that holds the value: one of the usual names, else the one with classes."""
    known, has_class = frozenset(classes), dict[str, bool]()
    for task in tasks:
        for key, value in task.items():
            if key not in ABOUT:
                named = isinstance(value, str) and value in known
                has_class[key] = has_class.get(key, False) or named
    usual = [name for name in value_fields if name in has_class]
    with_classes = [name for name, holds in has_class.items() if holds]
    return next(iter([*usual, *with_classes]), None)


def _image_in(content: Mapping[str, Any]) -> str | None:
    """The field of a task that names its image: `image`, else the first that looks like a path."""
    texts = {key: value for key, value in content.items() if isinstance(value, str) and value}
    like_paths = (value for value in texts.values() if _IMAGE.search(value))
    return texts.get("image") or next(like_paths, None)


def _objects(value: object) -> list[dict[str, Any]]:
    """The objects in a list, whatever else is in it."""
    return [one for one in value if isinstance(one, dict)] if isinstance(value, list) else []


def _text(value: object) -> str | None:
    return value if isinstance(value, str) and value else None
