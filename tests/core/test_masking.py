"""Faces are made coarse before an image is stored, and it is marked which parts were."""

import hashlib
from collections.abc import Sequence
from io import BytesIO

import numpy as np
import pytest
from PIL import Image
from skimage import data

from core import masking
from core.images import ImageRefused, clean_image, decode_image
from core.masking import MASKERS, MaskerFails, faces, mask_image, require_masker

FACE = (177, 66, 97, 97)  # of the astronaut: left, top, width, height


def covers(one: Sequence[int], other: Sequence[int]) -> bool:
    """Whether a region has all of another."""
    starts = one[0] <= other[0] and one[1] <= other[1]
    return starts and all(one[n] + one[n + 2] >= other[n] + other[n + 2] for n in (0, 1))


def encoded(pixels: np.ndarray, kind: str = "PNG") -> bytes:
    buffer = BytesIO()
    Image.fromarray(pixels).save(buffer, kind, quality=95)
    return buffer.getvalue()


@pytest.mark.parametrize("kind", ["PNG", "JPEG"])
def test_a_face_is_made_coarse_and_marked_and_the_rest_stays(kind: str) -> None:
    received = encoded(data.astronaut(), kind)
    image = clean_image(received)
    masked = mask_image(image, "faces")
    assert masked.masked is not None and masked.masked["by"] == "faces"
    regions = masked.masked["regions"]
    [(left, top, width, height)] = [one for one in regions if covers(one, FACE)]
    pixels, before = decode_image(masked.content), decode_image(image.content)
    inside = pixels[top : top + height, left : left + width].reshape(-1, 3)
    if kind == "PNG":
        assert len(np.unique(inside, axis=0)) <= masking.CELLS**2
    rest = np.ones(before.shape[:2], bool)
    for x, y, across, down in regions:
        rest[y : y + down, x : x + across] = False
    assert rest.mean() > 0.8
    assert np.abs(pixels[rest].astype(int) - before[rest]).mean() < (2 if kind == "JPEG" else 1e-9)
    assert not any(
        covers(one, FACE) or covers((left, top, width, height), one) for one in faces(pixels)
    )
    assert masked.sample_id == hashlib.sha256(received).hexdigest()
    assert masked.sha256 == hashlib.sha256(masked.content).hexdigest() != image.sha256
    assert (masked.format, masked.width, masked.height) == (kind, 512, 512)


def test_a_large_image_is_searched_small_and_masked_in_full_size() -> None:
    large = np.asarray(Image.fromarray(data.astronaut()).resize((2048, 2048)))
    assert any(
        abs(left - 4 * FACE[0]) < 60 and abs(top - 4 * FACE[1]) < 60 and width > 300
        for left, top, width, _ in faces(large)
    )


def test_an_image_without_a_face_stays_and_is_marked_as_looked_at() -> None:
    image = clean_image(encoded(data.chelsea()))
    masked = mask_image(image, "faces")
    assert masked.content == image.content
    assert masked.masked == {"by": "faces", "regions": []}
    assert mask_image(image, "none") is image


def test_a_masker_that_fails_lets_no_image_through(monkeypatch: pytest.MonkeyPatch) -> None:
    image = clean_image(encoded(data.chelsea()))
    monkeypatch.setattr(
        masking,
        "MASKERS",
        {**MASKERS, "broken": lambda pixels: 1 / 0, "out": lambda p: [(900, 0, 5, 5)]},
    )
    for name in ("broken", "out"):
        with pytest.raises(ImageRefused, match=f"the masker '{name}' failed") as refused:
            mask_image(image, name)
        assert refused.value.reason == "NOT_MASKED"


def test_a_masker_that_works_nowhere_is_named_with_its_remedy(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(masking, "MASKERS", {**MASKERS, "broken": lambda pixels: 1 / 0})
    with pytest.raises(MaskerFails, match=r"'broken' of .retention. mask .* install what"):
        require_masker("broken")
    require_masker("faces")
    require_masker("none")
