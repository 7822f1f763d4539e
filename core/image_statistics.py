"""Numbers about an image that people can name: brightness, sharpness, size, compression.

A camera that was replaced, a new codec or a scan moves these before it moves what a model sees.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

STATISTICS = (
    "brightness", "contrast", "red", "green", "blue", "red_spread", "green_spread", "blue_spread",
    "saturation", "colourfulness", "sharpness", "noise", "edges", "border", "entropy", "grey",
    "width", "height", "aspect", "bytes_per_pixel", "format",
)  # fmt: skip
FORMATS: Mapping[str, int] = {"JPEG": 0, "PNG": 1, "WebP": 2, "BMP": 3, "TIFF": 4}
HALF = np.dtype("<f2")  # of a statistic, as it is recorded
EDGE = 24  # of 255, between neighbouring pixels: what the eye takes for an edge
COLOUR_SIDE, DETAIL_SIDE = 64, 96  # pixels that are looked at: a large picture takes no longer
OF_PIXELS = 16  # of them are of the pixels, the others of the container
AT_ONCE = 8  # pictures
GREYS = 64  # of a histogram
GREY = 2  # of 255, between colours: a grey picture after JPEG's rounding
_WEIGHTS = np.array([0.299, 0.587, 0.114], np.float32)  # of red, green, blue in brightness
_OPPONENTS = np.array([[1, -1, 0], [0.5, 0.5, -1]], np.float32)  # red and green, yellow and blue
_NOISE = np.sqrt(np.pi / 2) / 6  # of the mean absolute answer of the mask: Gaussian deviation


@dataclass(frozen=True)
class Container:
    """What the file of an image says; None where it is not known."""

    width: int
    height: int
    size: int | None = None  # bytes, without metadata
    format: str | None = None  # one of FORMATS


def statistics_of(pixels: np.ndarray, container: Container | None = None) -> np.ndarray:
    """The STATISTICS of a picture, uint8 [height, width, 3], as float32; NaN where unknown.

    The pixels are those that the model gets, so that images of all sizes compare; width, height,
    compression and format are of the container.
    """
    [row] = statistics_of_all(pixels[None], [container])
    return np.asarray(row)


def statistics_of_all(pixels: np.ndarray, containers: Sequence[Container | None]) -> np.ndarray:
    """The STATISTICS of pictures of one size, uint8 [n, height, width, 3], a row for each."""
    if pixels.dtype != np.uint8 or pixels.ndim != 4 or pixels.shape[3] != 3 or not pixels.size:
        raise ValueError(
            f"the picture is {pixels.dtype} {pixels.shape[1:]}; uint8 [height, width, 3] is needed"
        )
    rows = np.empty((len(pixels), len(STATISTICS)), np.float32)
    for start in range(0, len(pixels), AT_ONCE):  # a few, so that they stay in the cache
        _measure(pixels[start : start + AT_ONCE], rows[start : start + AT_ONCE])
    rows[:, OF_PIXELS:] = [_about(container) for container in containers]
    return rows


def _measure(pixels: np.ndarray, rows: np.ndarray) -> None:
    """Write what the pixels say into the first columns."""
    step = -(-max(pixels.shape[1:3]) // COLOUR_SIDE)
    planes = _planes(pixels[:, ::step, ::step])
    grey, range_ = _WEIGHTS @ planes, planes.max(axis=1) - planes.min(axis=1)
    count = planes.shape[2]
    means = planes.sum(axis=2) / count
    planes -= means[..., None]
    # Its numbers give every deviation of a mix of colours. Products of a matrix and a row take a
    # third of the time of one of two matrices.
    spread = np.stack([(planes @ planes[:, row, :, None])[..., 0] for row in range(3)], 1) / count
    middle = _middle(pixels)
    close = grey if step == 1 else _WEIGHTS @ _planes(middle)  # a small picture is all middle
    brightness = means @ _WEIGHTS
    rows[:, 0], rows[:, 1] = brightness, _deviation(spread, _WEIGHTS)
    rows[:, 2:5], rows[:, 5:8] = means, np.sqrt(spread.diagonal(axis1=1, axis2=2))
    rows[:, 8], rows[:, 9] = range_.sum(axis=1) / count, _colourfulness(means, spread)
    rows[:, 10], rows[:, 11], rows[:, 12] = _detail(close.reshape(middle.shape[:3]))
    rows[:, 13], rows[:, 14] = _border(pixels) - brightness, _entropy(grey)
    rows[:, 15] = (range_ <= GREY).sum(axis=1) / count


def _planes(pixels: np.ndarray) -> np.ndarray:
    """Red, green and blue of each picture, one row each."""
    return np.ascontiguousarray(pixels.reshape(len(pixels), -1, 3).transpose(0, 2, 1), np.float32)


def _middle(pixels: np.ndarray) -> np.ndarray:
    """The middle of the pictures, which says enough about their details."""
    down, right = (max(side - DETAIL_SIDE, 0) // 2 for side in pixels.shape[1:3])
    return pixels[:, down : down + DETAIL_SIDE, right : right + DETAIL_SIDE]


def packed(rows: np.ndarray) -> list[bytes]:
    """Each row of statistics as float16 bytes; what float16 cannot represent becomes NaN."""
    with np.errstate(over="ignore"):
        half = rows.astype(HALF)
    half[~np.isfinite(half)] = np.nan
    return [row.tobytes() for row in half]


def unpacked(recorded: "list[bytes | None]") -> np.ndarray:
    """Recorded statistics as float32 [rows, STATISTICS]; NaN for rows without any, or of others."""
    size = len(STATISTICS) * HALF.itemsize
    missing = np.full(len(STATISTICS), np.nan, HALF).tobytes()
    whole = [one if one is not None and len(one) == size else missing for one in recorded]
    numbers = np.frombuffer(b"".join(whole), HALF).reshape(-1, len(STATISTICS))
    return numbers.astype(np.float32)


def _deviation(spread: np.ndarray, mix: np.ndarray) -> np.ndarray:
    """The standard deviation of a mix of red, green and blue, from their covariances."""
    return np.asarray(np.sqrt(np.maximum(0, spread @ mix @ mix)))


def _colourfulness(means: np.ndarray, spread: np.ndarray) -> np.ndarray:
    """How far the two opponent colours spread and lie from grey (Hasler and Suesstrunk)."""
    spreads = np.hypot(*(_deviation(spread, colour) for colour in _OPPONENTS))
    return np.asarray(spreads + 0.3 * np.hypot(*(_OPPONENTS @ means.T)))


def _detail(grey: np.ndarray) -> tuple[np.ndarray, ...]:
    """Sharpness (log variance of the Laplacian), noise (Immerkaer), and the share of edges.

    Computed in place: each array of this size that is made costs the system new pages.
    """
    if min(grey.shape[1:]) < 3:
        return (np.full(len(grey), np.nan),) * 3
    inner, down = grey[:, 1:-1], grey[:, :-2] + grey[:, 2:]
    middle = 4 * inner[..., 1:-1]
    laplacian = inner[..., :-2] + inner[..., 2:]
    laplacian += down[..., 1:-1]
    laplacian -= middle
    mask = down[..., :-2] + down[..., 2:]  # blind to flat areas and straight edges
    mask -= 2 * laplacian
    mask -= middle
    size = mask[0].size
    noise = _NOISE * np.abs(mask, out=mask).sum(axis=(1, 2)) / size
    steps = grey[:, 1:] - grey[:, :-1]
    edges = (np.abs(steps, out=steps) > EDGE).sum(axis=(1, 2)) / steps[0].size
    flat = laplacian.reshape(len(grey), -1)
    flat -= flat.sum(axis=1, keepdims=True) / size
    return np.log1p(np.einsum("np,np->n", flat, flat) / size), noise, edges


def _border(pixels: np.ndarray) -> np.ndarray:
    """The brightness of the outermost rows and columns."""
    sides = pixels[:, 0], pixels[:, -1], pixels[:, :, 0], pixels[:, :, -1]
    ring = np.concatenate(sides, axis=1)
    return np.asarray(ring.sum(axis=1, dtype=np.float32) @ _WEIGHTS / ring.shape[1])


def _entropy(grey: np.ndarray) -> np.ndarray:
    """Bits of the histogram of 64 greys."""
    codes = (grey * 0.25).astype(np.uint16)
    codes += GREYS * np.arange(len(grey), dtype=np.uint16)[:, None]
    counts = np.bincount(codes.ravel(), minlength=GREYS * len(grey)).reshape(-1, GREYS)
    shares = counts / grey.shape[1]
    return np.asarray(-(shares * np.log2(np.where(counts, shares, 1))).sum(axis=1))


def _about(container: Container | None) -> tuple[float, float, float, float, float]:
    if container is None:
        return math.nan, math.nan, math.nan, math.nan, math.nan
    width, height = math.log2(max(container.width, 1)), math.log2(max(container.height, 1))
    size = container.size
    dense = math.nan if size is None else math.log2(max(size, 1)) - width - height
    kind = math.nan if container.format is None else FORMATS.get(container.format, len(FORMATS))
    return width, height, width - height, dense, kind
