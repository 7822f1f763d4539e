"""A task and its annotations as the server sends them, and answers of the ledger made of these.

Anybody with a token can write tasks and annotations, and Label Studio checks little: one that is
of no use is refused with its reason and must not keep the others from being read.
"""

import hashlib
import json
import re
from collections.abc import Collection, Mapping
from datetime import UTC, datetime
from typing import Any

from core.text import short, storable
from labeling.formats.rows import seconds
from labeling.kinds import Kind, UnusableAnswer

CLOCK = "%Y-%m-%dT%H:%M:%S.%fZ"  # the only form of a time that the server's filters understand
SAMPLE = re.compile(r"[0-9A-Za-z]{1,64}")
FIRST_YEAR = 1_000  # whose number has four digits
DELETED_USER = "deleted-user"


def task_of(sent: Any) -> dict[str, Any]:
    """A task as the server sent it; what anybody wrote into it of another type counts as absent."""
    number, moment = getattr(sent, "id", None), getattr(sent, "updated_at", None)
    try:
        changed = as_text(moment) if isinstance(moment, datetime) else None
    except OverflowError:  # at the edge of the calendar
        changed = None
    if not isinstance(number, int) or changed is None:
        raise ValueError(
            f"a task has the id {short(number)} and changed at {short(moment)}, which Label Studio "
            "never sends; check LABEL_STUDIO_URL"
        )
    given = sent.annotations or []
    return {
        "id": number,
        "data": sent.data if isinstance(sent.data, dict) else {},
        "updated_at": changed,
        "overlap": _count(sent.overlap) or 1,
        "answers": _count(sent.total_annotations) + _count(sent.cancelled_annotations),
        "annotations": given if isinstance(given, list) else [given],
    }


def _count(number: object) -> int:
    return number if isinstance(number, int) else 0


def sample_of(task: Mapping[str, Any]) -> str | None:
    """The sample that a task is about, None for a task that is not ours.

    Names go back to the server in an address: a long one of a stranger would make that too long,
    in every later reading.
    """
    content = task.get("data")
    sample_id = content.get("sample_id") if isinstance(content, Mapping) else None
    return sample_id if isinstance(sample_id, str) and SAMPLE.fullmatch(sample_id) else None


def round_of(task: Mapping[str, Any]) -> str | None:
    """The round that a task was sent in, None for a task that is not ours."""
    round_id = task["data"].get("round")
    return round_id if _is_storable(round_id) else None


def _is_storable(value: object) -> bool:
    return isinstance(value, str) and storable(value) == value


def as_text(moment: datetime) -> str:
    """A time of the server as the text its filters understand; it sorts in the order of time."""
    return moment.astimezone(UTC).strftime(CLOCK)


def answer_of(
    annotation: object,
    task: Mapping[str, Any],
    users: Mapping[int, str],
    classes: Collection[str],
    kind: Kind,
) -> dict[str, Any]:
    """The answer that an annotation is, as the ledger takes it; else an `UnusableAnswer`."""
    if not isinstance(annotation, Mapping):
        raise UnusableAnswer("MALFORMED", f"the annotation is {short(annotation)}, no object")
    sample_id = sample_of(task)
    if sample_id is None:
        raise UnusableAnswer("UNKNOWN_SAMPLE", "the task has no sample_id of ours")
    skipped = _flag(annotation, "was_cancelled")
    starred = _flag(annotation, "ground_truth") and not skipped
    if starred and annotation.get("completed_by") is None:
        raise UnusableAnswer("GROUND_TRUTH", "it is marked as ground truth, and by nobody we know")
    # A skip carries what was preselected, the model's own guess: never read its result.
    value = None if skipped else kind.value_of(annotation.get("result"), classes)
    return {
        "external_id": f"{sample_id}:{_number(annotation, 'id')}",
        "sample_id": sample_id,
        "annotator": _annotator(annotation, users),
        "kind": "skip" if skipped else "verdict" if starred else "answer",
        "value": value,
        "lead_time": seconds(annotation.get("lead_time")),
        "updated_at": _time(annotation.get("updated_at")),
        "round_id": round_of(task),
    }


def refusal_of(
    annotation: object, task: Mapping[str, Any], users: Mapping[int, str], error: UnusableAnswer
) -> dict[str, Any]:
    """What is recorded of an annotation that is no answer."""
    fields = annotation if isinstance(annotation, Mapping) else {"result": annotation}
    sample_id, number = sample_of(task), task["id"]
    content = [fields.get(key) for key in ("result", "completed_by", "ground_truth")]
    try:
        annotator = _annotator(fields, users)
    except UnusableAnswer:
        annotator = None
    return {
        "external_id": storable(f"{sample_id or f'task-{number}'}:{fields.get('id')}"),
        "sample_id": sample_id,
        "annotator": annotator,
        "reason": error.reason,
        "detail": f"task {number}: {error.detail}",
        "digest": hashlib.sha256(_text_of(content).encode()).hexdigest(),
    }


def _text_of(content: object) -> str:
    try:
        return json.dumps(content, sort_keys=True)
    except RecursionError:  # nested as deep as JSON can just be read
        return short(content)


def _annotator(annotation: Mapping[str, Any], users: Mapping[int, str]) -> str:
    if annotation.get("completed_by") is None:
        return DELETED_USER
    who = _number(annotation, "completed_by")
    return users.get(who, f"user-{who}")


def _number(annotation: Mapping[str, Any], key: str) -> int:
    number = annotation.get(key)
    if not isinstance(number, int) or isinstance(number, bool):
        raise UnusableAnswer("MALFORMED", f"its {key} is {short(number)}, no whole number")
    return number


def _flag(annotation: Mapping[str, Any], key: str) -> bool:
    flag = annotation.get(key)
    if not isinstance(flag, bool | None):
        raise UnusableAnswer("MALFORMED", f"its {key} is {short(flag)}, neither true nor false")
    return bool(flag)


def _time(text: object) -> str:
    try:
        moment = datetime.fromisoformat(str(text))
        if moment.year < FIRST_YEAR:
            raise ValueError("its text would not sort")
        return as_text(moment)
    except (ValueError, OverflowError) as error:  # at the edge of the calendar
        raise UnusableAnswer("BAD_TIME", f"its updated_at is {short(text)}, no time") from error
