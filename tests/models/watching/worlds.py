"""Images of classes that lie apart in a plane of their embeddings, and a model that knows it."""

import numpy as np

from core.image_statistics import STATISTICS
from models.watching.signals import Window

CLASSES, WIDTH, APART = 5, 12, 1.6
CENTRES = np.zeros((CLASSES, WIDTH))
CENTRES[:, :CLASSES] = APART * np.eye(CLASSES)


def images(
    rows: int, seed: int, *, mix: np.ndarray | None = None, moved: float = 0.0, part: float = 1.0
) -> Window:
    """Rows with their labels; `moved`: how far a `part` of them lies from where it belongs.

    What moves are axes that the model does not look at, and statistics with them.
    """
    rng = np.random.default_rng(seed)
    labels = rng.choice(CLASSES, rows, p=mix)
    embeddings = rng.normal(size=(rows, WIDTH)) + CENTRES[labels]
    statistics = rng.normal(size=(rows, len(STATISTICS)))
    statistics[:, STATISTICS.index("format")] = 0
    for name in ("width", "height", "aspect", "bytes_per_pixel"):
        statistics[:, STATISTICS.index(name)] = 1 + rng.random(rows)
    count = round(part * rows)
    embeddings[:count, CLASSES:] += moved
    statistics[:count, 0] += moved
    return Window.of(outputs_of(embeddings), embeddings, statistics, labels=labels)


def outputs_of(embeddings: np.ndarray) -> np.ndarray:
    """The probabilities of the classes when all are as frequent."""
    odds = np.exp(embeddings @ CENTRES.T)
    return np.asarray(odds / odds.sum(axis=1, keepdims=True))
