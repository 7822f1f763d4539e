"""A few images of known classes in real shards, as a snapshot's table has them."""

from io import BytesIO
from pathlib import Path

import numpy as np
import pandas as pd
from PIL import Image

from core.shards import write_shard

CLASSES = ["flat", "tall", "wide"]
SIZE = 8


def picture(label: str, rng: np.random.Generator, side: int = SIZE) -> np.ndarray:
    """Noise with a bright bar that tells the class: none, upright or lying."""
    image = rng.integers(0, 80, (side, side, 3)).astype(np.uint8)
    middle = slice(side // 2 - 1, side // 2 + 1)
    if label == "tall":
        image[:, middle] = 255
    if label == "wide":
        image[middle] = 255
    return image


def encoded(image: np.ndarray) -> bytes:
    buffer = BytesIO()
    Image.fromarray(image).save(buffer, "PNG")
    return buffer.getvalue()


def snapshot(
    shards: Path, *, train: int, val: int = 0, side: int = SIZE, seed: int = 0
) -> pd.DataFrame:
    """So many rows of each split with classes in turn, their images written to `shards`."""
    rng = np.random.default_rng(seed)
    labels = [CLASSES[number % len(CLASSES)] for number in range(train + val)]
    images = [
        (f"{number:04d}", encoded(picture(label, rng, side))) for number, label in enumerate(labels)
    ]
    places = write_shard(shards, images)
    return pd.DataFrame(
        {
            "sample_id": [name for name, _ in images],
            "label": labels,
            "trust": 1.0,
            "split": ["train"] * train + ["val"] * val,
            "shard": [place.shard for place in places],
            "offset": [place.offset for place in places],
            "length": [place.length for place in places],
            "stored_sha256": [place.sha256 for place in places],
        }
    )
