"""Copies that were cropped, shifted or squeezed are found; what merely looks alike is not."""

import io

import numpy as np
import pytest
from PIL import Image

from core.images import clean_image
from labeling.ingest import aligned_copies as module
from labeling.ingest.aligned_copies import (
    NEAREST,
    aligned_copies,
    are_aligned,
    fitted_difference,
    nearest_rows,
)
from labeling.ingest.near_duplicates import SIDE, ThumbnailIndex
from tasks.demo.digits import load_digits
from tests.labeling.ingest.test_near_duplicates import look_of, names, scenes

BOXES = {
    "shifted": (3, 0, 64, 62),
    "cropped": (4, 3, 60, 61),
    "cropped much": (9, 8, 58, 57),
    "squeezed": (0, 5, 64, 59),
}


@pytest.fixture(autouse=True)
def enough(monkeypatch: pytest.MonkeyPatch) -> None:
    """The scenes here are enough: they are of many kinds."""
    monkeypatch.setattr(module, "FEWEST", 21)


def features_of(pictures: list[Image.Image]) -> np.ndarray:
    """Grey pixels, blurred: those of a copy are near those of its original."""
    small = [np.asarray(picture.resize((6, 6)), np.float32).ravel() for picture in pictures]
    rows = np.stack(small)
    return rows - rows.mean(axis=1, keepdims=True)


def pairs_among(pictures: list[Image.Image], asked: list[int]) -> set[tuple[int, int]]:
    thumbnails = [look_of(picture) for picture in pictures]

    def thumbnails_of(rows: np.ndarray) -> list[bytes]:
        return [thumbnails[row] for row in rows]

    return set(aligned_copies(features_of(pictures), np.array(asked, int), thumbnails_of))


@pytest.mark.parametrize("box", BOXES.values(), ids=list(BOXES))
def test_a_part_of_an_image_is_its_copy_though_the_index_of_thumbnails_misses_it(
    box: tuple,
) -> None:
    pictures = scenes(60)
    pictures.append(pictures[7].crop(box).resize((50, 50)))
    index = ThumbnailIndex()
    assert index.add(names(61), [look_of(picture) for picture in pictures]) == []
    assert pairs_among(pictures, [60, 20]) == {(60, 7)}
    assert pairs_among(pictures, [7]) == {(7, 60)}


def test_of_images_that_all_look_alike_none_is_a_copy_but_a_copy_still_is() -> None:
    """Frames of a scene with other small details: each fits each, as shirts do."""
    (scene,) = scenes(1, seed=5)
    details = scenes(40, seed=6)
    frames = [Image.blend(scene, detail, 0.15) for detail in details]
    looks = np.stack([np.frombuffer(look_of(frame), np.uint8) for frame in frames])
    looks = looks.reshape(-1, SIDE, SIDE)
    assert np.median(fitted_difference(looks[:-1], looks[1:])) < 0.3
    assert pairs_among(frames, list(range(40))) == set()
    frames.append(frames[3].crop((1, 0, 64, 64)).resize((64, 64)))
    assert pairs_among(frames, [40]) == {(40, 3)}


def test_flat_images_and_other_brightness_or_contrast_are_no_copies() -> None:
    (scene,) = scenes(1)
    pixels = np.asarray(scene, np.float32)
    (look,) = _looks([pixels])
    for changed in (pixels * 0 + 90, pixels * 0.4 + 60, pixels * 0.7 + 150):
        (other,) = _looks([changed])
        assert fitted_difference(look[None], other[None])[0] == 9
        assert fitted_difference(other[None], look[None])[0] == 9
    (brighter,) = _looks([pixels * 1.1 + 5])
    assert fitted_difference(look[None], brighter[None])[0] < 0.1


def test_an_image_shown_in_the_mirror_or_upside_down_is_another() -> None:
    (scene,) = scenes(1, seed=3)
    pixels = np.asarray(scene, np.float32)
    look, mirrored, turned = _looks([pixels, pixels[:, ::-1], pixels[::-1]])
    assert fitted_difference(np.stack([look, look]), np.stack([mirrored, turned])).min() > 0.5


def test_with_few_others_nothing_is_decided(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "FEWEST", 0)
    pictures = scenes(NEAREST - 1)
    pictures.append(pictures[0].crop(BOXES["shifted"]))
    assert pairs_among(pictures, [0, NEAREST - 1]) == set()
    assert pairs_among([*pictures, *scenes(30, seed=9)], []) == set()
    pictures = [*pictures, *scenes(30, seed=9)]
    assert pairs_among(pictures, [0]) == {(0, NEAREST - 1)}
    monkeypatch.setattr(module, "FEWEST", len(pictures) + 1)
    assert pairs_among(pictures, [0]) == set()


def test_handwritten_digits_are_not_copies_of_each_other_however_few(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    digits = [Image.open(io.BytesIO(one.png)).convert("RGB") for one in load_digits(seed=0)[0][:40]]
    assert module.FEWEST == 21
    assert len(pairs_among(digits, list(range(40)))) > 5  # no other of its kind is there to compare
    monkeypatch.undo()
    assert pairs_among(digits, list(range(40))) == set()


def test_nearest_rows_are_those_of_a_full_sort_whatever_the_blocks(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    rng = np.random.default_rng(0)
    features = rng.normal(size=(300, 12)).astype(np.float32)
    rows = np.array([5, 299, 0, 17])
    unit = features / np.linalg.norm(features, axis=1, keepdims=True)
    alike = unit[rows] @ unit.T
    alike[np.arange(4), rows] = -2
    expected = np.argsort(-alike, axis=1)[:, :7]
    for numbers in (2**26, 12 * 40):
        monkeypatch.setattr("labeling.ingest.aligned_copies._NUMBERS", numbers)
        assert (nearest_rows(features, rows, 7) == expected).all()


def test_one_of_a_group_is_aligned_with_any_of_the_others() -> None:
    pictures = scenes(3)
    moved = look_of(pictures[0].crop(BOXES["cropped"]))
    looks = [look_of(picture) for picture in pictures]
    assert are_aligned(moved, looks)
    assert not are_aligned(moved, looks[1:])
    assert not are_aligned(moved, [])


def _looks(pictures: list[np.ndarray]) -> np.ndarray:
    thumbnails = []
    for pixels in pictures:
        buffer = io.BytesIO()
        Image.fromarray(np.clip(pixels, 0, 255).astype(np.uint8)).save(buffer, "PNG")
        thumbnails.append(clean_image(buffer.getvalue()).thumbnail)
    return np.stack([np.frombuffer(one, np.uint8) for one in thumbnails]).reshape(-1, SIDE, SIDE)
