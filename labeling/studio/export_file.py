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
) -> list[ExportedAnswer]:
    """The answers in an export, and the refusal of each part that is not as Label Studio writes it.

    `value_fields` are usual names of the field that holds the value in a JSON-MIN export; where
    none is there, it is the field with names of `classes`. Predictions and drafts are nobody's
    answer and do not appear.
    """
    tasks, refused = _objects(entries, "the file")
    if not any(isinstance(task.get("data"), dict) for task in tasks):
        return [*_flat_answers(tasks, kind, classes, value_fields), *refused]
    answers = list[ExportedAnswer]()
    for task in tasks:
        if isinstance(task.get("data"), dict):
            answers += _task_answers(task, kind)
        else:
            detail = f"its data is {short(task.get('data'))}; an object is needed"
            answers.append(_malformed(_where(task), detail))
    return answers + refused


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
    unanswered = ExportedAnswer(_where(task), _image_in(content), _text(content.get("sample_id")))
    given = task.get("annotations") or task.get("completions") or []
    annotations, refused = _objects(given, f"{_where(task)}, annotations")
    for annotation in sorted(annotations, key=lambda one: str(one.get("updated_at") or "")):
        yield _annotation_answer(unanswered, annotation, kind)
    yield from refused
    if not given:
        yield unanswered


def _annotation_answer(
    unanswered: ExportedAnswer, annotation: Mapping[str, Any], kind: Kind
) -> ExportedAnswer:
    answer = _signed(unanswered, annotation, annotation.get("completed_by"))
    marks = {name: annotation.get(name) for name in ("was_cancelled", "skipped", "ground_truth")}
    for name, mark in marks.items():
        if not (mark is None or isinstance(mark, bool)):
            return _refused(answer, f"{name} is {short(mark)}; true or false is needed")
    if answer.reason:
        return answer
    if marks["was_cancelled"] or marks["skipped"]:
        return replace(answer, kind="skip")
    answer = replace(answer, kind="verdict" if marks["ground_truth"] else "answer")
    result = annotation.get("result")
    if not isinstance(result, list) or not all(isinstance(part, dict) for part in result):
        return _refused(answer, f"its result is {short(result)}; a list of objects is needed")
    return _valued(answer, kind, result)


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
        unanswered = ExportedAnswer(_where(task), _image_in(content), _text(task.get("sample_id")))
        result = task.get(field) if field else None
        if result in (None, "", []):
            yield unanswered
        else:
            yield _valued(_signed(unanswered, task, task.get("annotator")), kind, result)


def _signed(answer: ExportedAnswer, annotation: Mapping[str, Any], user: Any) -> ExportedAnswer:
    """The answer with who gave it and when."""
    who = user.get("email") or user.get("id") if isinstance(user, dict) else user
    signed = replace(
        answer,
        user=who if isinstance(who, str | int) and who != "" else None,
        answered_at=annotation.get("updated_at") or annotation.get("created_at"),
        lead_time=annotation.get("lead_time"),
    )
    if isinstance(who, bool) or not (who is None or isinstance(who, str | int)):
        detail = f"it is by {short(who)}; the id or the e-mail address of a person is needed"
        return _refused(signed, detail)
    return signed


def _valued(answer: ExportedAnswer, kind: Kind, result: object) -> ExportedAnswer:
    """The answer with its value, or with the reason why it has none."""
    if answer.reason:
        return answer
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


def _objects(value: object, where: str) -> tuple[list[dict[str, Any]], list[ExportedAnswer]]:
    """The objects in a list, and a refusal with its place for whatever else is in it."""
    if not isinstance(value, list):
        return [], [_malformed(where, f"{short(value)}; a list is needed")]
    refused = [
        _malformed(f"{where} [{place}]", f"{short(one)}; an object is needed")
        for place, one in enumerate(value)
        if not isinstance(one, dict)
    ]
    return [one for one in value if isinstance(one, dict)], refused


def _where(task: Mapping[str, Any]) -> str:
    return f"task {short(task.get('id'))}"


def _malformed(where: str, detail: str) -> ExportedAnswer:
    return ExportedAnswer(where, None, None, reason="MALFORMED", detail=detail)


def _refused(answer: ExportedAnswer, detail: str) -> ExportedAnswer:
    return replace(answer, user=None, reason="MALFORMED", detail=detail)


def _text(value: object) -> str | None:
    return value if isinstance(value, str) and value else None
