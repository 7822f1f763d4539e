"""Which labelled sample an image resembles most: by features, else by their 16x16 thumbnails."""

from collections.abc import Sequence, Sized

import numpy as np

BLOCK = 512  # images compared at once with all the known ones


def nearest(thumbnails: Sequence[bytes], known: Sequence[bytes]) -> np.ndarray:
    """For each thumbnail the row of the known one most like it at equal brightness."""
    _check(thumbnails, known)
    pixels = [
        np.frombuffer(b"".join(part), np.uint8).reshape(len(part), -1)
        for part in (thumbnails, known)
    ]
    ours, theirs = (part - part.mean(axis=1, keepdims=True, dtype=np.float32) for part in pixels)
    return nearest_by_features(ours, theirs)


def nearest_by_features(features: np.ndarray, known: np.ndarray) -> np.ndarray:
    """For each row the row of the known ones most like it by cosine similarity."""
    _check(features, known)
    theirs = _unit(known)
    blocks = (
        _unit(features[start : start + BLOCK]) @ theirs.T
        for start in range(0, len(features), BLOCK)
    )
    return np.concatenate([block.argmax(axis=1) for block in blocks])


def _check(ours: Sized, known: Sized) -> None:
    if not len(ours) or not len(known):
        raise ValueError(f"{len(ours)} images and {len(known)} known ones; each needs at least one")


def _unit(rows: np.ndarray) -> np.ndarray:
    """Rows of length one, so that a product is a similarity; those of zeros stay."""
    rows = np.asarray(rows, np.float32)
    length = np.linalg.norm(rows, axis=1, keepdims=True)
    return rows / np.where(length > 0, length, 1)
