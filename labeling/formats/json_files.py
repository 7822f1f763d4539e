"""Labels that were written down elsewhere as JSON: COCO files and exports of Label Studio."""

import json
import re
from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from labeling.formats.tables import (
    LABEL_COLUMNS,
    LabelFile,
    Row,
    listed,
    moment,
    seconds,
    short,
    source_of,
    text_of,
)

# What a row of a JSON-MIN export has besides the fields of its task and the choice.
ABOUT = {"id", "annotator", "annotation_id", "created_at", "updated_at", "lead_time", "agreement",
         "image", "sample_id"}  # fmt: skip
_IMAGE = re.compile(r"^/data/|\.(jpe?g|png|webp|bmp|tiff?)$", re.IGNORECASE)
_CUT = "one image has one class here: keep one of them, or cut the image in parts"


def read_coco(path: Path, classes: Sequence[str]) -> LabelFile:
    """The images of a COCO file, each with the one category of its annotations."""
    found = _parsed(path)
    whole = found if isinstance(found, dict) else {}
    parts = [whole.get(name) for name in ("images", "annotations", "categories")]
    if not all(isinstance(part, list) for part in parts) or not parts[0]:
        raise ValueError(
            f"{path} is no COCO file: an object with the lists images (not empty), annotations and "
            "categories is needed; name another format with --format"
        )
    images, annotations, categories = map(_objects, parts)
    names = _category_names(categories, path)
    said: dict[str, list[str]] = defaultdict(list)
    for one in annotations:
        said[str(one.get("image_id"))].append(str(one.get("category_id")))
    times = Counter(str(one.get("id")) for one in images)
    rows = [_coco_row(one, said[str(one.get("id"))], names, times) for one in images]
    rows += [_stray(one) for one in annotations if str(one.get("image_id")) not in times]
    boxes = sum(bool(one.get("bbox") or one.get("segmentation")) for one in annotations)
    note = f"{boxes} boxes or masks were left aside: a label is about the whole image"
    return LabelFile(path, rows, [note] if boxes else [])


def read_label_studio(path: Path, classes: Sequence[str]) -> LabelFile:
    """The annotations of an export in Label Studio's JSON or JSON-MIN, those without one included.

    Predictions and drafts are nobody's answer and do not appear.
    """
    found = _parsed(path)
    tasks = _objects(found)
    full = [task for task in tasks if isinstance(task.get("data"), dict)]
    if full:
        rows = [row for task in full for row in _task_rows(task, source_of(path))]
    else:
        rows = list(_flat_rows(tasks, classes, path))
    if not any(row.image or row.sample_id for row in rows):
        raise ValueError(
            f"{path} is no JSON or JSON-MIN export of Label Studio: a list of tasks with an image "
            "or a sample_id is needed; export the project as JSON, or name another --format"
        )
    left = len(found) - len(full or tasks)
    return LabelFile(path, rows, [f"{left} entries that are no tasks were left aside"] * bool(left))


def _parsed(path: Path) -> Any:
    try:
        return json.loads(text_of(path))
    except RecursionError as error:
        raise ValueError(f"{path} is nested too deeply for a label file") from error
    except json.JSONDecodeError as error:
        raise ValueError(
            f"{path} is no JSON: {error}; was it cut short? Export it again, or name another "
            "format with --format"
        ) from error


def _category_names(categories: Sequence[Mapping[str, Any]], path: Path) -> dict[str, Any]:
    """The name of each category by its id; an id that stands for two could mean either."""
    names: dict[str, Any] = {}
    for one in categories:
        key, name = str(one.get("id")), one.get("name")
        if names.setdefault(key, name) != name:
            raise ValueError(
                f"{path}: the category id {short(one.get('id'))} stands for {short(names[key])} "
                f"and {short(name)}; give each its own"
            )
    return names


def _coco_row(
    image: Mapping[str, Any],
    said: Sequence[str],
    names: Mapping[str, Any],
    times: Mapping[str, int],
) -> Row:
    number = str(image.get("id"))
    row = Row(
        f"image {short(image.get('id'))}",
        image=_text(image.get("file_name")) or _text(image.get("path")),
        sample_id=_text(image.get("sample_id")),
    )
    unknown = [key for key in said if not isinstance(names.get(key), str)]
    chosen = list(dict.fromkeys(names[key] for key in said if key not in unknown))
    if times[number] > 1:
        detail = f"{times[number]} images have this id; give each its own"
        return row._replace(reason="MALFORMED", detail=detail)
    if unknown:
        detail = f"category {short(unknown[0])} is not in categories; add it there"
        return row._replace(reason="NO_SUCH_CATEGORY", detail=detail)
    if len(chosen) > 1:
        detail = f"its annotations have the categories {listed(chosen)}; {_CUT}"
        return row._replace(reason="TWO_CATEGORIES", detail=detail)
    return row._replace(label=chosen[0] if chosen else None)


def _stray(annotation: Mapping[str, Any]) -> Row:
    detail = f"image_id {short(annotation.get('image_id'))} is not in images"
    where = f"annotation {short(annotation.get('id'))}"
    return Row(where, reason="NO_SUCH_IMAGE", detail=detail)


def _task_rows(task: Mapping[str, Any], source: str) -> Iterator[Row]:
    content = task["data"]
    place = Row(
        f"task {short(task.get('id'))}",
        image=_image_in(content),
        sample_id=_text(content.get("sample_id")),
    )
    given = _objects(task.get("annotations") or task.get("completions"))
    for annotation in sorted(given, key=lambda one: str(one.get("updated_at") or "")):
        yield _annotation_row(place, annotation, source)
    if not given:
        yield place


def _annotation_row(place: Row, annotation: Mapping[str, Any], source: str) -> Row:
    row = _signed(place, annotation, annotation.get("completed_by"), source)
    if annotation.get("was_cancelled") or annotation.get("skipped"):
        return row._replace(kind="skip")
    values = [part.get("value") for part in _objects(annotation.get("result"))]
    kind = "verdict" if annotation.get("ground_truth") else "answer"
    return _chosen(row._replace(kind=kind), _choices(_objects(values)))


def _signed(place: Row, said: Mapping[str, Any], who: Any, source: str) -> Row:
    """The row with who said it and when."""
    if isinstance(who, dict):
        who = who.get("email") or who.get("id")
    # An id means somebody on that server only, so that it must not meet another server's.
    name = f"{source}:user-{who}" if isinstance(who, int) else _text(who)
    row = place._replace(annotator=name, lead_time=seconds(said.get("lead_time")))
    try:
        at = moment(said.get("updated_at") or said.get("created_at"))
    except ValueError:
        at = None  # not from Label Studio, which writes times well; the file's own counts
    return row._replace(answered_at=at)


def _chosen(row: Row, names: Sequence[Any]) -> Row:
    """The row with its label, or with the reason why it has none."""
    distinct = list(dict.fromkeys(short(name) for name in names))
    if len(distinct) > 1:
        detail = f"{listed(distinct)} were chosen; {_CUT}"
        return row._replace(reason="TWO_CHOICES", detail=detail)
    if not names or not isinstance(names[0], str):
        detail = f"{short(names)} was chosen; one name from Choices is a label, no other control is"
        return row._replace(reason="NO_CHOICE", detail=detail)
    return row._replace(label=names[0])


def _choices(values: Sequence[Any]) -> list[Any]:
    """Every name chosen in these values: each a name, or an object with the list `choices`."""
    names: list[Any] = []
    for value in values:
        inner = value.get("choices") if isinstance(value, dict) else value
        names += inner if isinstance(inner, list) else [inner] if inner is not None else []
    return names


def _flat_rows(
    tasks: Sequence[Mapping[str, Any]], classes: Sequence[str], path: Path
) -> Iterator[Row]:
    """The rows of a JSON-MIN export, where the fields of task and annotation stand side by side."""
    choice = _choice_field(tasks, classes)
    for task in tasks:
        place = Row(
            f"task {short(task.get('id'))}",
            image=_image_in({key: value for key, value in task.items() if key != choice}),
            sample_id=_text(task.get("sample_id")),
        )
        said = task.get(choice) if choice else None
        if said in (None, "", []):
            yield place
        else:
            row = _signed(place, task, task.get("annotator"), source_of(path))
            yield _chosen(row, _choices(said if isinstance(said, list) else [said]))


def _choice_field(tasks: Sequence[Mapping[str, Any]], classes: Sequence[str]) -> str | None:
    """The field that holds what was chosen: one of the usual names, else the one with classes."""
    fields = list(dict.fromkeys(key for task in tasks for key in task if key not in ABOUT))
    usual = [name for name in LABEL_COLUMNS if name in fields]
    with_classes = [
        name for name in fields
        if any(isinstance(task.get(name), str) and task[name] in classes for task in tasks)
    ]  # fmt: skip
    return next(iter([*usual, *with_classes]), None)


def _image_in(content: Mapping[str, Any]) -> str | None:
    """The field of a task that names its image: `image`, else the first that looks like a path."""
    texts = {key: value for key, value in content.items() if isinstance(value, str) and value}
    like_paths = (value for value in texts.values() if _IMAGE.search(value))
    return texts.get("image") or next(like_paths, None)


def _objects(value: Any) -> list[dict[str, Any]]:
    """The objects in a list, whatever else is in it."""
    return [one for one in value if isinstance(one, dict)] if isinstance(value, list) else []


def _text(value: Any) -> str | None:
    return value if isinstance(value, str) and value else None
