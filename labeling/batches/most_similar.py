"""Which labelled sample an image resembles most, by their 16x16 thumbnails: no model is needed."""

from collections.abc import Sequence

import numpy as np

BLOCK = 512  # thumbnails compared at once with all the known ones


def nearest(thumbnails: Sequence[bytes], known: Sequence[bytes]) -> np.ndarray:
    """For each thumbnail the row of the known one most like it at equal brightness."""
    if not thumbnails or not known:
        raise ValueError(
            f"{len(thumbnails)} thumbnails and {len(known)} known ones; each needs at least one"
        )
    ours, theirs = _unit(thumbnails), _unit(known)
    blocks = (ours[start : start + BLOCK] @ theirs.T for start in range(0, len(ours), BLOCK))
    return np.concatenate([block.argmax(axis=1) for block in blocks])


def _unit(thumbnails: Sequence[bytes]) -> np.ndarray:
    """Rows of mean zero and length one, so that a product is a correlation; flat ones are zero."""
    pixels = np.frombuffer(b"".join(thumbnails), np.uint8)
    grey = pixels.reshape(len(thumbnails), -1).astype(np.float32)
    grey -= grey.mean(axis=1, keepdims=True)
    length = np.linalg.norm(grey, axis=1, keepdims=True)
    return grey / np.where(length > 0, length, 1)
