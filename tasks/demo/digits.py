"""scikit-learn's handwritten digits as real image files, and the same digits turned and noisy."""

import hashlib
import io
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
from PIL import Image

from core.files import write_atomically

SIDE = 32  # the 8x8 originals are too small for a person to look at
TURN, NOISE = 50.0, 40.0  # degrees, and standard deviation in grey levels, of the shifted images


@dataclass(frozen=True)
class Digit:
    """One digit as a PNG file's bytes, and what it shows."""

    name: str
    png: bytes
    truth: str

    @property
    def sample_id(self) -> str:
        return hashlib.sha256(self.png).hexdigest()


def load_digits(seed: int, *, held_back: int = 0) -> tuple[list[Digit], list[Digit]]:
    """All 1,797 digits in an order that `seed` says: those to ingest, and those held back."""
    from sklearn.datasets import load_digits as load

    bunch = load()
    order = np.random.default_rng(seed).permutation(len(bunch.target))
    digits = [
        Digit(
            f"digit-{number:04d}.png", _png(_grey(bunch.images[number])), str(bunch.target[number])
        )
        for number in order
    ]
    return digits[held_back:], digits[:held_back]


def shifted(digits: list[Digit], seed: int) -> list[Digit]:
    """The same digits turned by about `TURN` degrees and noisy: what a new camera might send."""
    rng = np.random.default_rng([seed, 1])
    return [
        Digit(f"shifted-{digit.name}", _png(_shift(digit.png, rng)), digit.truth)
        for digit in digits
    ]


def write_digits(folder: Path, digits: list[Digit]) -> None:
    """Write the digits as files."""
    for digit in digits:
        write_atomically(folder / digit.name, digit.png)


def truth_table(digits: list[Digit]) -> pd.Series:
    """What each image shows, by sample id: what the simulated annotators look at."""
    return pd.Series({digit.sample_id: digit.truth for digit in digits}, name="truth")


def _grey(image: np.ndarray) -> Image.Image:
    small = Image.fromarray((image * (255 / 16)).round().astype(np.uint8))
    return small.resize((SIDE, SIDE), Image.Resampling.BICUBIC)


def _shift(png: bytes, rng: np.random.Generator) -> Image.Image:
    image = Image.open(io.BytesIO(png))
    turned = image.rotate(TURN + rng.normal(0, 5), Image.Resampling.BILINEAR)
    noisy = np.asarray(turned, dtype=float) + rng.normal(0, NOISE, (SIDE, SIDE))
    return Image.fromarray(noisy.clip(0, 255).astype(np.uint8))


def _png(image: Image.Image) -> bytes:
    file = io.BytesIO()
    image.save(file, "PNG")
    return file.getvalue()
