"""Parts of images that nobody should recognise, made coarse before an image is stored.

A masker names regions; `mask_image` makes them coarse and notes which. So a masker of your own is a
function and a line in `MASKERS`.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import cache
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from core.errors import HoneError
from core.images import JPEG_QUALITY, CleanImage, ImageRefused, clean_image, decode_image

Region = tuple[int, int, int, int]  # left, top, width, height, in pixels
Masker = Callable[[np.ndarray], Sequence[Region]]  # of uint8 RGB [height, width, 3]
BLANK = np.full((64, 64, 3), 127, np.uint8)  # on which a masker is tried
CELLS = 4  # on each side of a region: no face is told from another by 16 colours
MARGIN = 0.15  # of a region on each side: hair and ears show who it is, too
SMALLEST_FACE = 16  # pixels
LONGEST_SIDE = 1024  # of what is searched; a larger image is searched at this size


def faces(pixels: np.ndarray) -> list[Region]:
    """Faces from the front and from either side, by the cascades that OpenCV 4 brings.

    It misses covered, turned and small faces, and sees one at times where there is none.
    """
    import cv2

    scale = min(1.0, LONGEST_SIDE / max(pixels.shape[:2]))
    size = tuple(max(round(side * scale), 1) for side in pixels.shape[1::-1])
    grey = cv2.cvtColor(cv2.resize(pixels, size, interpolation=cv2.INTER_AREA), cv2.COLOR_RGB2GRAY)
    regions = []
    for name in ("frontalface_alt2", "profileface"):
        for flipped in (False, True)[: 1 + (name == "profileface")]:
            searched = np.ascontiguousarray(grey[:, ::-1]) if flipped else grey
            smallest = (SMALLEST_FACE, SMALLEST_FACE)
            for left, top, width, height in _cascade(name).detectMultiScale(
                searched, 1.1, 4, minSize=smallest
            ):
                start = size[0] - left - width if flipped else left
                regions.append(
                    tuple(round(float(one) / scale) for one in (start, top, width, height))
                )
    return regions


MASKERS: Mapping[str, Masker | None] = {"none": None, "faces": faces}


class MaskerFails(HoneError):
    """A masker works on no image, so that none may be taken in."""


def require_masker(masker: str) -> None:
    """Raise `MaskerFails` if a masker works not even on a blank image."""
    find = MASKERS[masker]
    try:
        if find is not None:
            find(BLANK)
    except Exception as error:  # whatever a masker of somebody's own raises
        raise MaskerFails(
            f"the masker {masker!r} of [retention] mask in hone.toml does not work here "
            f"({type(error).__name__}: {error}): no image of the traffic is taken in until it "
            "does; install what it needs ('faces': opencv-python-headless 4)"
        ) from error


def mask_image(image: CleanImage, masker: str) -> CleanImage:
    """The image with the regions of a masker made coarse, and a mark that says which they are.

    Its id stays that of the bytes received. An image whose masker fails is refused: it must not be
    stored as it is.
    """
    find = MASKERS[masker]
    if find is None:
        return image
    pixels = decode_image(image.content)
    try:
        regions = [_widened(region, pixels) for region in find(pixels)]
    except Exception as error:  # whatever a masker of somebody's own raises
        detail = f"the masker {masker!r} failed: {type(error).__name__}: {error}"
        raise ImageRefused("NOT_MASKED", detail) from error
    mark: dict[str, Any] = {"by": masker, "regions": [list(region) for region in regions]}
    if not regions:
        return replace(image, masked=mark)
    coarse = pixels.copy()
    for left, top, width, height in regions:
        part = coarse[top : top + height, left : left + width]
        part[:] = _coarse(part)
    buffer = BytesIO()
    quality = {"quality": JPEG_QUALITY, "subsampling": 0} if image.format == "JPEG" else {}
    Image.fromarray(coarse).save(buffer, image.format, **quality)
    return replace(clean_image(buffer.getvalue()), sample_id=image.sample_id, masked=mark)


@cache
def _cascade(name: str) -> Any:
    import cv2

    path = Path(str(cv2.__file__)).parent / "data" / f"haarcascade_{name}.xml"
    cascade = cv2.CascadeClassifier(str(path))
    if cascade.empty():
        raise ValueError(f"{path} is no cascade; install opencv-python-headless 4")
    return cascade


def _widened(region: Region, pixels: np.ndarray) -> Region:
    """The region with its margin, within the image."""
    left, top, width, height = (int(one) for one in region)
    across, down = round(width * MARGIN), round(height * MARGIN)
    right, bottom = left + width + across, top + height + down
    left, top = max(left - across, 0), max(top - down, 0)
    right, bottom = min(right, pixels.shape[1]), min(bottom, pixels.shape[0])
    if right <= left or bottom <= top:
        raise ValueError(f"region {region} is not in the image")
    return left, top, right - left, bottom - top


def _coarse(part: np.ndarray) -> np.ndarray:
    """A few mean colours in place of the part."""
    height, width = part.shape[:2]
    cells = Image.fromarray(part).resize(
        (min(CELLS, width), min(CELLS, height)), Image.Resampling.BOX
    )
    return np.asarray(cells.resize((width, height), Image.Resampling.NEAREST))
