"""Features of a set of images, computed once: pretrained ones, or those of SimCLR on its pool.

They are put on the principal axes of the pool and made as long as one, and stored in an
.npz named by the images and the network. Near copies of images have theirs.
"""

import hashlib
import time
from collections.abc import Callable, Iterable
from io import BytesIO
from pathlib import Path

import numpy as np
from PIL import Image

from benchmarks.labels import pretrained, simclr
from benchmarks.labels.regimes import ASIDE, COPIES, DataSet
from benchmarks.labels.sets import Images, ImageSet
from models.pretraining.pretrained import fit_projection

COPIED = 2_000  # images of which near copies are made
CHUNK = 2_560
Encoder = Callable[[Images], np.ndarray]


def data_set(
    images: ImageSet, kind: str, cache: Path, *, epochs: float, development: bool
) -> DataSet:
    """Features of the set; its test is the real one, or what was kept aside for development."""
    arrays = _stored(images, kind, cache, epochs)
    pool_side = np.flatnonzero(~images.is_test)
    aside = aside_of(images.is_test)
    of_set = np.zeros(len(images.classes), bool)
    of_set[images.rows] = True
    pool = np.setdiff1d(pool_side, aside)
    pool = pool[of_set[pool]]
    judged = aside if development else np.flatnonzero(images.is_test)
    judged = judged[of_set[judged]]
    copied = of_set[arrays["copied"]]
    return DataSet(
        features=arrays["features"][pool],
        classes=images.classes[pool],
        test_features=arrays["features"][judged],
        test_classes=images.classes[judged],
        copies=arrays["copies"][copied],
        copied=np.searchsorted(pool, arrays["copied"][copied]),
    )


def aside_of(is_test: np.ndarray) -> np.ndarray:
    """Rows of the pool's side that are kept for development, whatever else is drawn."""
    pool = np.flatnonzero(~is_test)
    return np.sort(np.random.default_rng(11).permutation(pool)[: min(ASIDE, len(pool) // 10)])


def copied_of(is_test: np.ndarray) -> np.ndarray:
    """Rows of the pool's side of which near copies are made."""
    free = np.setdiff1d(np.flatnonzero(~is_test), aside_of(is_test))
    return np.sort(np.random.default_rng(0).permutation(free)[:COPIED])


def _stored(images: ImageSet, kind: str, cache: Path, epochs: float) -> dict[str, np.ndarray]:
    """Features of all images and of near copies of these, computed where they are not stored."""
    identity = f"{images.fingerprint} {kind} {epochs if kind == 'simclr' else ''} 1"
    key = hashlib.sha256(identity.encode()).hexdigest()[:16]
    path = cache / f"labels-{kind}-{key}.npz"
    if not path.exists():
        cache.mkdir(parents=True, exist_ok=True)
        print(f"{images.name}: no {kind} features yet", flush=True)
        encode = _encoder(images, kind, epochs)
        copied = copied_of(images.is_test)
        features = _encoded(encode, images.read, np.arange(len(images.classes)))
        rng = np.random.default_rng(0)
        copies = _encoded(encode, lambda rows: near_copies(images.read(rows), rng), copied)
        store(path, features, copies, copied, images.is_test)
    with np.load(path) as stored:
        return dict(stored)


def store(
    path: Path, features: np.ndarray, copies: np.ndarray, copied: np.ndarray, is_test: np.ndarray
) -> None:
    """Write what a network gave, on the principal axes of the pool."""
    project = fit_projection(features[~is_test], np.random.default_rng(0))
    unfinished = path.with_suffix(".part.npz")
    np.savez(
        unfinished,
        features=project(features.astype(np.float32)),
        copies=project(copies.astype(np.float32)).reshape(len(copied), COPIES, -1),
        copied=copied,
    )
    unfinished.rename(path)


def _encoder(images: ImageSet, kind: str, epochs: float) -> Encoder:
    if kind == "pretrained":
        return pretrained.encoder()
    pool = np.flatnonzero(~images.is_test)
    return simclr.encoder(images.read(pool), simclr.Recipe(epochs=epochs))


def _encoded(
    encode: Encoder, read: Callable[[Iterable[int]], Images], rows: np.ndarray
) -> np.ndarray:
    parts, began = [], time.monotonic()
    for start in range(0, len(rows), CHUNK):
        parts.append(encode(read(rows[start : start + CHUNK])))
        done = min(start + CHUNK, len(rows))
        print(f"{done} of {len(rows)} images, {time.monotonic() - began:.0f} s", flush=True)
    return np.concatenate(parts)


def near_copies(images: Images, rng: np.random.Generator) -> Images:
    """COPIES of every image, each moved by a pixel, noisier, saved as JPEG again."""
    copies = []
    for image in images:
        height, width = image.shape[:2]
        padded = np.pad(image, ((1, 1), (1, 1), (0, 0)), mode="edge").astype(np.float32)
        for _ in range(COPIES):
            down, right = rng.integers(0, 3, size=2)
            moved = padded[down : down + height, right : right + width] * rng.uniform(0.97, 1.03)
            noisy = np.clip(moved + rng.normal(0, 3, moved.shape), 0, 255).astype(np.uint8)
            file = BytesIO()
            Image.fromarray(noisy).save(file, "JPEG", quality=int(rng.integers(75, 96)))
            copies.append(np.asarray(Image.open(file)))
    return copies
