"""COCO: images, categories and annotations in one JSON object; the boxes are left aside."""

from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from core.text import listed, short
from labeling.formats.export_rows import Export, as_json
from labeling.formats.rows import LabelFile, Row, load_json
from labeling.kinds import Kind

NAMED = 3  # of the names that one category id stands for
_CUT = "one image has one class here: keep one of them, or cut the image in parts"


def read_coco(path: Path, classes: Sequence[str], kind: Kind) -> LabelFile:
    """The images of a COCO file, each with the one category of its annotations."""
    content = load_json(path)
    whole = content if isinstance(content, dict) else {}
    parts = [whole.get(name) for name in ("images", "annotations", "categories")]
    if not all(isinstance(part, list) for part in parts) or not parts[0]:
        raise ValueError(
            f"{path} is no COCO file: an object with the lists images (not empty), annotations and "
            "categories is needed; name another format with --format"
        )
    places = [_objects(whole[name], name) for name in ("images", "annotations", "categories")]
    (images, no_image), (annotations, no_annotation), (categories, no_category) = places
    names = _category_names(categories)
    category_ids: dict[str, list[str]] = defaultdict(list)
    for one in annotations:
        category_ids[str(one["image_id"])].append(str(one.get("category_id")))
    times = Counter(str(one["id"]) for one in images)
    rows = [_coco_row(one, category_ids[str(one["id"])], names, times) for one in images]
    rows += [_stray(one) for one in annotations if str(one["image_id"]) not in times]
    rows += [*no_image, *no_annotation, *no_category]
    boxes = sum(bool(one.get("bbox") or one.get("segmentation")) for one in annotations)
    note = f"{boxes} boxes or masks were left aside: a label is about the whole image"
    return LabelFile(path, rows, [note] if boxes else [])


def write_coco(export: Export, folder: Path) -> None:
    """Images, categories and one annotation for each image, which has no box."""
    numbers = {name: number for number, name in enumerate(export.classes, start=1)}
    rows = list(enumerate(export.rows.itertuples(), start=1))
    images = [
        {"id": number, "file_name": row.image, "width": row.width, "height": row.height,
         "sample_id": row.sample_id, "split": row.split, "original_file_name": row.file_name}
        for number, row in rows
    ]  # fmt: skip
    annotations = [
        {"id": number, "image_id": number, "category_id": numbers[str(row.label)],
         "trust": row.trust, "annotators": row.annotators}
        for number, row in rows
    ]  # fmt: skip
    categories = [{"id": number, "name": name} for name, number in numbers.items()]
    about = {"description": f"{export.name} of Hone", "version": export.name}
    whole = {"info": about, "images": images, "annotations": annotations, "categories": categories}
    (folder / f"{export.name}.json").write_text(as_json(whole), encoding="utf-8")


def _category_names(categories: Sequence[Mapping[str, Any]]) -> dict[str, list[object]]:
    """The first names of each category by its id; an id that stands for two could mean either."""
    names: dict[str, list[object]] = defaultdict(list)
    for one in categories:
        known = names[str(one["id"])]
        if len(known) < NAMED and one.get("name") not in known:
            known.append(one.get("name"))
    return names


def _coco_row(
    image: Mapping[str, Any],
    category_ids: Sequence[str],
    names: Mapping[str, Sequence[object]],
    times: Mapping[str, int],
) -> Row:
    number = str(image["id"])
    row = Row(
        f"image {short(image.get('id'))}",
        image=_text(image.get("file_name")) or _text(image.get("path")),
        sample_id=_text(image.get("sample_id")),
    )
    if times[number] > 1:
        detail = f"{times[number]} images have this id; give each its own"
        return row._replace(reason="MALFORMED", detail=detail)
    chosen = list[str]()
    for key in dict.fromkeys(category_ids):
        if problem := _category_problem(key, named := names.get(key, [])):
            return row._replace(reason="NO_SUCH_CATEGORY", detail=problem)
        chosen.append(str(named[0]))
    chosen = list(dict.fromkeys(chosen))
    if len(chosen) > 1:
        detail = f"its annotations have the categories {listed(chosen)}; {_CUT}"
        return row._replace(reason="TWO_CATEGORIES", detail=detail)
    return row._replace(label=chosen[0] if chosen else None)


def _stray(annotation: Mapping[str, Any]) -> Row:
    detail = f"image_id {short(annotation.get('image_id'))} is not in images"
    where = f"annotation {short(annotation.get('id'))}"
    return Row(where, reason="NO_SUCH_IMAGE", detail=detail)


def _category_problem(key: str, names: Sequence[object]) -> str | None:
    """Why no label can rest on a category of these names."""
    if len(names) > 1:
        shown = listed([short(name) for name in names])
        return f"the category id {short(key)} stands for {shown}; give each its own"
    if not names or not _text(names[0]):
        return f"category {short(key)} is not in categories, with a name; add it there"
    return None


def _objects(entries: Sequence[Any], name: str) -> tuple[list[dict[str, Any]], list[Row]]:
    """The objects of a list that have an id, and a refusal with its place for each other entry."""
    key = "image_id" if name == "annotations" else "id"
    good, bad = list[dict[str, Any]](), list[Row]()
    for place, one in enumerate(entries):
        if isinstance(one, dict) and _is_id(one.get(key)):
            good.append(one)
        else:
            held = f"{key} is {short(one.get(key))}" if isinstance(one, dict) else short(one)
            detail = f"{held}; an object is needed, whose {key} is a whole number or a text"
            bad.append(Row(f"{name}[{place}]", reason="MALFORMED", detail=detail))
    return good, bad


def _is_id(value: object) -> bool:
    """Whether a value is an id; `true` is none, though Python counts it as 1."""
    return isinstance(value, str | int) and not isinstance(value, bool) and value != ""


def _text(value: Any) -> str | None:
    return value if isinstance(value, str) and value else None
