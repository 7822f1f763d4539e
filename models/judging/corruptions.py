"""Corrupted images: what a camera, a network or the weather does to pictures, always the same way.

Eight kinds at two strengths each, every one small enough that a person still names the class. What
is drawn at random depends on the seed, the kind and the sample alone, the strength as well: the
same sample looks the same for every model, in every order and on every machine.
"""

import hashlib
from collections.abc import Callable, Mapping, Sequence
from io import BytesIO

import numpy as np
from PIL import Image, ImageFilter

from core.intervals import Interval, paired_difference

MILD, STRONG = STRENGTHS = (0, 1)
MOST_ROWS = 100  # of a verdict: eight passes over more take as long as a small training
POOLED = "all"

_Corrupt = Callable[[np.ndarray, int, np.random.Generator], np.ndarray]


def _noise(image: np.ndarray, strength: int, rng: np.random.Generator) -> np.ndarray:
    return image + rng.normal(0, (12, 28)[strength], image.shape)


def _blur(image: np.ndarray, strength: int, rng: np.random.Generator) -> np.ndarray:
    radius = (0.02, 0.04)[strength] * max(image.shape[:2])
    return np.asarray(Image.fromarray(image).filter(ImageFilter.GaussianBlur(radius)))


def _brightness(image: np.ndarray, strength: int, rng: np.random.Generator) -> np.ndarray:
    return image + rng.choice((-1, 1)) * (35.0, 70.0)[strength]


def _contrast(image: np.ndarray, strength: int, rng: np.random.Generator) -> np.ndarray:
    middle = image.mean()
    return middle + (image - middle) * (0.6, 0.35)[strength]


def _jpeg(image: np.ndarray, strength: int, rng: np.random.Generator) -> np.ndarray:
    file = BytesIO()
    Image.fromarray(image).save(file, "JPEG", quality=(30, 12)[strength])
    return np.asarray(Image.open(file))


def _occlusion(image: np.ndarray, strength: int, rng: np.random.Generator) -> np.ndarray:
    """A grey square over a part of the image."""
    sides = [max(1, round((0.25, 0.4)[strength] * length)) for length in image.shape[:2]]
    top, left = (
        int(rng.integers(0, length - side + 1))
        for length, side in zip(image.shape[:2], sides, strict=True)
    )
    covered = image.copy()
    covered[top : top + sides[0], left : left + sides[1]] = 128
    return covered


def _rotation(image: np.ndarray, strength: int, rng: np.random.Generator) -> np.ndarray:
    """Turned to either side, the corners filled with the mean colour of the border."""
    angle = rng.choice((-1, 1)) * (12.0, 25.0)[strength]
    border = np.concatenate([image[0], image[-1], image[:, 0], image[:, -1]])
    red, green, blue = (int(value) for value in border.mean(axis=0).round())
    turned = Image.fromarray(image).rotate(
        angle, Image.Resampling.BILINEAR, fillcolor=(red, green, blue)
    )
    return np.asarray(turned)


def _colour(image: np.ndarray, strength: int, rng: np.random.Generator) -> np.ndarray:
    """One channel brighter and another darker, as under a lamp of another colour."""
    shift = rng.permutation([1.0, 0.0, -1.0]) * (25, 50)[strength]
    return image + shift


CORRUPTIONS: dict[str, _Corrupt] = {
    "noise": _noise,
    "blur": _blur,
    "brightness": _brightness,
    "contrast": _contrast,
    "jpeg": _jpeg,
    "occlusion": _occlusion,
    "rotation": _rotation,
    "colour": _colour,
}


def corrupted(
    images: np.ndarray,
    kind: str,
    sample_ids: Sequence[str],
    *,
    strength: int | None = None,
    seed: int = 0,
) -> np.ndarray:
    """The images, uint8 [n, height, width, 3], corrupted; `sample_ids` name them, in order.

    Without a `strength` each sample has one of the two, drawn for it: both are measured at half of
    the cost.
    """
    if images.dtype != np.uint8 or images.ndim != 4 or images.shape[3] != 3:
        raise ValueError(
            f"the images are {images.dtype} {images.shape}; uint8 [n, height, width, 3] is needed"
        )
    corrupt = CORRUPTIONS[kind]
    rows = np.empty_like(images)
    for row, (image, sample_id) in enumerate(zip(images, sample_ids, strict=True)):
        digest = hashlib.sha256(f"{seed}:{kind}:{sample_id}".encode()).digest()
        rng = np.random.default_rng(int.from_bytes(digest[:8], "big"))
        drawn = int(rng.choice(STRENGTHS))
        chosen = drawn if strength is None else strength
        rows[row] = np.clip(np.rint(corrupt(image, chosen, rng)), 0, 255)
    return rows


def robustness(
    challenger: Mapping[str, np.ndarray],
    champion: Mapping[str, np.ndarray],
    *,
    alpha: float = 0.05,
) -> dict[str, Interval]:
    """How much more credit the challenger has on corrupted rows: by kind, and in all (`POOLED`).

    Both have the credit of every row, in one order, under each kind of corruption. In all, a row
    counts once, with its mean credit. All intervals hold together (Bonferroni).
    """
    pairs = {kind: (credit, champion[kind]) for kind, credit in challenger.items()}
    one, other = (
        np.mean([model[kind] for kind in challenger], axis=0) for model in (challenger, champion)
    )
    pairs[POOLED] = one, other
    return {
        name: paired_difference(one, other, alpha=alpha / len(pairs))
        for name, (one, other) in pairs.items()
    }
