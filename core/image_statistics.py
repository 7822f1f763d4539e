"""Numbers about an image that people can name: brightness, sharpness, size, compression.

A camera that was replaced, a new codec or a scan moves these before it moves what a model sees.
"""

import math
from collections.abc import Mapping
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
    if pixels.dtype != np.uint8 or pixels.ndim != 3 or pixels.shape[2] != 3 or not pixels.size:
        raise ValueError(
            f"the picture is {pixels.dtype} {pixels.shape}; uint8 [height, width, 3] is needed"
        )
    step = -(-max(pixels.shape[:2]) // COLOUR_SIDE)
    planes = _planes(pixels[::step, ::step])
    grey, range_ = _WEIGHTS @ planes, planes.max(axis=0) - planes.min(axis=0)
    count = planes.shape[1]
    means = planes.sum(axis=1) / count
    planes -= means[:, None]
    # Its numbers give every deviation of a mix of colours. Three products of a matrix and a row
    # take a third of the time of one of two matrices.
    spread = np.stack([planes @ plane for plane in planes]) / count
    middle = _middle(pixels)
    close = grey if step == 1 else _WEIGHTS @ _planes(middle)  # a small picture is all middle
    detail = _detail(close.reshape(middle.shape[:2]))
    brightness = _WEIGHTS @ means
    numbers = [
        brightness, _deviation(spread, _WEIGHTS), *means, *np.sqrt(spread.diagonal()),
        range_.sum() / count, _colourfulness(means, spread), *detail, _border(pixels) - brightness,
        _entropy(grey), np.count_nonzero(range_ <= GREY) / count,
    ]  # fmt: skip
    return np.array([*numbers, *_about(container)], np.float32)


def _planes(pixels: np.ndarray) -> np.ndarray:
    """Red, green and blue, one row each."""
    return np.ascontiguousarray(pixels.reshape(-1, 3).T, np.float32)


def _middle(pixels: np.ndarray) -> np.ndarray:
    """The middle of the picture, which says enough about its details."""
    down, right = (max(side - DETAIL_SIDE, 0) // 2 for side in pixels.shape[:2])
    return pixels[down : down + DETAIL_SIDE, right : right + DETAIL_SIDE]


def packed(statistics: np.ndarray) -> bytes:
    """The statistics as float16 bytes; what float16 cannot represent becomes NaN."""
    with np.errstate(over="ignore"):
        half = statistics.astype(HALF)
    half[~np.isfinite(half)] = np.nan
    return half.tobytes()


def unpacked(recorded: "list[bytes | None]") -> np.ndarray:
    """Recorded statistics as float32 [rows, STATISTICS]; NaN for rows without any, or of others."""
    size = len(STATISTICS) * HALF.itemsize
    missing = np.full(len(STATISTICS), np.nan, HALF).tobytes()
    whole = [one if one is not None and len(one) == size else missing for one in recorded]
    numbers = np.frombuffer(b"".join(whole), HALF).reshape(-1, len(STATISTICS))
    return numbers.astype(np.float32)


def _deviation(spread: np.ndarray, mix: np.ndarray) -> float:
    """The standard deviation of a mix of red, green and blue, from their covariances."""
    return math.sqrt(max(0.0, float(mix @ spread @ mix)))


def _colourfulness(means: np.ndarray, spread: np.ndarray) -> float:
    """How far the two opponent colours spread and lie from grey (Hasler and Suesstrunk)."""
    spreads = math.hypot(*(_deviation(spread, colour) for colour in _OPPONENTS))
    return spreads + 0.3 * math.hypot(*(_OPPONENTS @ means))


def _detail(grey: np.ndarray) -> tuple[float, float, float]:
    """Sharpness (log variance of the Laplacian), noise (Immerkaer), and the share of edges."""
    if min(grey.shape) < 3:
        return np.nan, np.nan, np.nan
    inner = grey[1:-1]
    middle, across = inner[:, 1:-1], inner[:, :-2] + inner[:, 2:]
    down = grey[:-2] + grey[2:]
    near = across + down[:, 1:-1]
    corners = down[:, :-2] + down[:, 2:]
    laplacian = near - 4 * middle
    mask = corners - 2 * laplacian - 4 * middle  # blind to flat areas and straight edges
    noise = _NOISE * np.abs(mask).sum() / mask.size
    steps = grey[1:] - grey[:-1]
    edges = np.count_nonzero(np.abs(steps) > EDGE) / steps.size
    flat = laplacian.ravel()
    flat -= flat.sum() / flat.size
    return math.log1p(float(flat @ flat) / flat.size), float(noise), edges


def _border(pixels: np.ndarray) -> float:
    """The brightness of the outermost rows and columns."""
    ring = np.concatenate([pixels[0], pixels[-1], pixels[:, 0], pixels[:, -1]])
    return float(_WEIGHTS @ ring.sum(axis=0, dtype=np.float32)) / len(ring)


def _entropy(grey: np.ndarray) -> float:
    """Bits of the histogram of 64 greys."""
    counts = np.bincount((grey * 0.25).astype(np.uint8), minlength=64)
    shares = counts[counts > 0] / grey.size
    return float(-(shares * np.log2(shares)).sum())


def _about(container: Container | None) -> tuple[float, float, float, float, float]:
    """Log sizes, log aspect, log bytes a pixel and the number of the format."""
    if container is None:
        return np.nan, np.nan, np.nan, np.nan, np.nan
    width, height = np.log2(max(container.width, 1)), np.log2(max(container.height, 1))
    size = container.size
    dense = np.nan if size is None else np.log2(max(size, 1)) - width - height
    kind = np.nan if container.format is None else FORMATS.get(container.format, len(FORMATS))
    return width, height, width - height, dense, kind
