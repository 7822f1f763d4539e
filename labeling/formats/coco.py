"""COCO: images, categories and annotations in one JSON object; the boxes are left aside."""

from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from core.text import listed, short
from labeling.formats.export_rows import Export, as_json
from labeling.formats.rows import LabelFile, Row, load_json
from labeling.kinds import Kind

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
    images, annotations, categories = map(_objects, parts)
    names = _category_names(categories, path)
    category_ids: dict[str, list[str]] = defaultdict(list)
    for one in annotations:
        category_ids[str(one.get("image_id"))].append(str(one.get("category_id")))
    times = Counter(str(one.get("id")) for one in images)
    rows = [_coco_row(one, category_ids[str(one.get("id"))], names, times) for one in images]
    rows += [_stray(one) for one in annotations if str(one.get("image_id")) not in times]
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


def _category_names(categories: Sequence[Mapping[str, Any]], path: Path) -> dict[str, object]:
    """The name of each category by its id; an id that stands for two could mean either."""
    names: dict[str, object] = {}
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
    category_ids: Sequence[str],
    names: Mapping[str, Any],
    times: Mapping[str, int],
) -> Row:
    number = str(image.get("id"))
    row = Row(
        f"image {short(image.get('id'))}",
        image=_text(image.get("file_name")) or _text(image.get("path")),
        sample_id=_text(image.get("sample_id")),
    )
    if times[number] > 1:
        detail = f"{times[number]} images have this id; give each its own"
        return row._replace(reason="MALFORMED", detail=detail)
    unknown = [key for key in category_ids if not isinstance(names.get(key), str)]
    named = (names.get(key) for key in category_ids)
    chosen = list(dict.fromkeys(name for name in named if isinstance(name, str)))
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


def _objects(value: Any) -> list[dict[str, Any]]:
    """The objects in a list, whatever else is in it."""
    return [one for one in value if isinstance(one, dict)] if isinstance(value, list) else []


def _text(value: Any) -> str | None:
    return value if isinstance(value, str) and value else None
