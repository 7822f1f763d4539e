"""Which known sample an image resembles most, by its 16x16 look: no model is needed for it."""

from collections.abc import Sequence

import numpy as np

BLOCK = 512  # looks compared at once with all the known ones


def nearest(looks: Sequence[bytes], known: Sequence[bytes]) -> np.ndarray:
    """For each look the row of the known one most like it, at equal brightness and contrast."""
    if not looks or not known:
        raise ValueError(f"{len(looks)} looks and {len(known)} known ones; each needs at least one")
    ours, theirs = _unit(looks), _unit(known)
    blocks = (ours[start : start + BLOCK] @ theirs.T for start in range(0, len(ours), BLOCK))
    return np.concatenate([block.argmax(axis=1) for block in blocks])


def _unit(looks: Sequence[bytes]) -> np.ndarray:
    """Rows of mean zero and length one, so that a product is a correlation; flat ones are zero."""
    grey = np.frombuffer(b"".join(looks), np.uint8).reshape(len(looks), -1).astype(np.float32)
    grey -= grey.mean(axis=1, keepdims=True)
    length = np.linalg.norm(grey, axis=1, keepdims=True)
    return grey / np.where(length > 0, length, 1)
