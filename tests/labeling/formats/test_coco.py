"""COCO files as rows, and a snapshot as a COCO file."""

import json
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from labeling.formats.coco import read_coco, write_coco
from labeling.formats.export_rows import Export
from labeling.kinds import KINDS

CLASSES = ["cat", "dog"]
KIND = KINDS["classification"]


def whole(**parts: Any) -> dict[str, Any]:
    images = [{"id": 1, "file_name": "a.png"}]
    categories = [{"id": 1, "name": "cat"}, {"id": 2, "name": "dog"}]
    return {"images": images, "annotations": [], "categories": categories, **parts}


def read(folder: Path, **parts: Any) -> Any:
    (folder / "a.json").write_text(json.dumps(whole(**parts)))
    return read_coco(folder / "a.json", CLASSES, KIND)


@pytest.mark.parametrize(
    ("categories", "label", "reason"),
    [([1], "cat", None), ([1, 1], "cat", None), ([], None, None), ([1, 2], None, "TWO_CATEGORIES"),
     ([9], None, "NO_SUCH_CATEGORY")],
)  # fmt: skip
def test_an_image_has_the_one_category_of_its_annotations(
    tmp_path: Path, categories: list[int], label: str | None, reason: str | None
) -> None:
    annotations = [{"image_id": 1, "category_id": one, "bbox": [0, 0, 1, 1]} for one in categories]
    file = read(tmp_path, annotations=annotations)
    (row,) = file.rows
    assert (row.label, row.reason) == (label, reason)
    assert bool(file.notes) == bool(categories), "boxes are left aside, and the file says so"


def test_an_id_that_stands_for_two_categories_refuses_the_images_of_it(tmp_path: Path) -> None:
    twice = [{"id": 1, "name": "cat"}, {"id": 1, "name": "dog"}]
    annotations = [{"image_id": 1, "category_id": 1}]
    row = read(tmp_path, categories=twice, annotations=annotations).rows[0]
    assert row.reason == "NO_SUCH_CATEGORY" and "stands for 'cat', 'dog'" in str(row.detail)


def test_what_is_written_is_read(tmp_path: Path) -> None:
    rows = pd.DataFrame(
        [{"image": "images/a.png", "label": "dog", "split": "train", "trust": 0.95, "width": 4,
          "height": 3, "sample_id": "f" * 64, "annotators": ["ann"], "file_name": "in/a.png"}]
    ).astype(object)  # fmt: skip
    write_coco(Export("snapshot-0001", rows, CLASSES, KIND), tmp_path)
    (row,) = read_coco(tmp_path / "snapshot-0001.json", CLASSES, KIND).rows
    assert (row.image, row.sample_id, row.label) == ("images/a.png", "f" * 64, "dog")
