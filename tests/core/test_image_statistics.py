"""The numbers about an image move with what people can name, and only with that."""

import numpy as np
import pytest

from core.image_statistics import (
    FORMATS,
    STATISTICS,
    Container,
    packed,
    statistics_of,
    unpacked,
)

RNG = np.random.default_rng(0)
RAMP = np.linspace(0, 255, 64)
SCENE = np.stack(
    [np.add.outer(RAMP, RAMP) / 2, np.tile(RAMP, (64, 1)), np.tile(RAMP[::-1], (64, 1))]
)
PHOTO = (SCENE.transpose(1, 2, 0) * 0.6 + RNG.normal(60, 12, (64, 64, 3))).clip(0, 255)
IMAGE = PHOTO.astype(np.uint8)


def numbers(picture: np.ndarray, container: Container | None = None) -> dict[str, float]:
    return dict(zip(STATISTICS, statistics_of(picture, container).tolist(), strict=True))


def blurred(picture: np.ndarray) -> np.ndarray:
    return np.mean([np.roll(picture.astype(float), step, 0) for step in range(3)], axis=0)


@pytest.mark.parametrize(
    ("changed", "higher", "lower"),
    [
        (PHOTO + 20, {"brightness", "red", "green", "blue"}, set()),
        ((PHOTO - 128) * 0.5 + 128, set(), {"contrast", "red_spread", "sharpness", "entropy"}),
        (PHOTO + np.array([30, 0, -30]), {"red"}, {"blue"}),
        (blurred(PHOTO), set(), {"sharpness", "noise"}),
        (PHOTO + RNG.normal(0, 20, PHOTO.shape), {"sharpness", "noise", "edges"}, set()),
        (np.repeat(PHOTO.mean(2, keepdims=True), 3, 2), {"grey"}, {"saturation", "colourfulness"}),
        (np.pad(PHOTO[4:-4, 4:-4], ((4, 4), (4, 4), (0, 0))), set(), {"border", "brightness"}),
    ],
    ids=["brighter", "flatter", "redder", "blurred", "noisier", "grey", "framed"],
)
def test_what_changed_is_named(changed: np.ndarray, higher: set[str], lower: set[str]) -> None:
    before, after = numbers(IMAGE), numbers(changed.clip(0, 255).astype(np.uint8))
    assert {name for name in higher if after[name] <= before[name]} == set()
    assert {name for name in lower if after[name] >= before[name]} == set()


def test_noise_is_estimated_in_levels_of_brightness() -> None:
    flat = np.repeat(RNG.normal(128, 10, (256, 256, 1)), 3, axis=2)
    assert numbers(flat.clip(0, 255).astype(np.uint8))["noise"] == pytest.approx(10, rel=0.05)


def test_the_container_is_in_doublings_and_unknown_parts_are_nan() -> None:
    whole = numbers(IMAGE, Container(640, 320, 640 * 320 // 4, "PNG"))
    assert (whole["width"], whole["aspect"]) == (pytest.approx(9.3219, abs=1e-3), 1.0)
    assert (whole["bytes_per_pixel"], whole["format"]) == (-2.0, FORMATS["PNG"])
    assert np.isnan(numbers(IMAGE, Container(640, 320))["bytes_per_pixel"])
    bare = numbers(IMAGE)
    unknown = {name for name, value in bare.items() if np.isnan(value)}
    assert unknown == {"width", "height", "aspect", "bytes_per_pixel", "format"}


def test_a_picture_of_one_pixel_has_numbers_and_other_arrays_are_refused() -> None:
    tiny = numbers(np.zeros((1, 1, 3), np.uint8))
    assert tiny["brightness"] == 0
    assert np.isnan(tiny["noise"])
    for wrong in (IMAGE[..., :1], IMAGE.astype(float), IMAGE[:0]):
        with pytest.raises(ValueError, match="the picture is"):
            statistics_of(wrong)


def test_recorded_statistics_come_back_and_rows_without_them_are_nan() -> None:
    whole = statistics_of(IMAGE, Container(64, 64, 900, "JPEG"))
    kept, too_large = packed(np.stack([whole, np.full(len(STATISTICS), 1e9)]))
    back = unpacked([kept, None, b"cut", too_large])
    assert back.shape == (4, len(STATISTICS))
    assert back[0] == pytest.approx(whole, rel=1e-3, abs=1e-3)
    assert np.isnan(back[1:]).all()
    assert unpacked([]).shape == (0, len(STATISTICS))
