"""Small pictures that are in the page itself, of stored samples and of images that were served."""

import base64
import io
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from core.images import ImageRefused, decode_image
from core.shards import read_image
from labeling.ledger.tables import location_of
from tasks.context import Context
from tasks.report.html.elements import Html, element, joined
from tasks.watch.pictures import shown_pixels

SIDE = 128  # pixels at most; shown at half of that, sharp on a phone
QUALITY = 72
TINY = 64  # a side up to which each pixel is kept as it is


@dataclass(frozen=True)
class Picture:
    """An image for the page; where it cannot be shown, `address` is None and `missing` says why."""

    address: str | None
    missing: str = ""


def sample_picture(shards: Path, row: Any) -> Picture:
    """The picture of a stored sample: a row with its place in the shards."""
    return _picture(lambda: decode_image(read_image(shards, location_of(row))))


def served_picture(ctx: Context, row: Any) -> Picture:
    """The picture of an image that was served, masked by the policy: a row of predictions."""
    return _picture(lambda: shown_pixels(ctx, row))


def picture_grid(pictures: Iterable[tuple[Picture, str, object]]) -> Html:
    """Pictures beside each other, each with its text for those who do not see it, and a caption."""
    figures = [
        element("figure", _shown(picture, words), element("figcaption", caption))
        for picture, words, caption in pictures
    ]
    return element("div", *figures, class_="pictures") if figures else Html()


def _shown(picture: Picture, words: str) -> Html:
    if picture.address is None:
        return element("div", picture.missing, class_="gone")
    is_tiny = picture.address.startswith("data:image/png")
    return element("img", src=picture.address, alt=words, class_="tiny" if is_tiny else None)


def _picture(decode: Callable[[], np.ndarray]) -> Picture:
    try:
        return Picture(_address(decode()))
    except (OSError, ValueError, ImageRefused):  # erased, lost or damaged; the page goes to others
        return Picture(None, "no picture: its bytes are not at hand, hone fsck says why")


def _address(pixels: np.ndarray) -> str:
    image = Image.fromarray(pixels).convert("RGB")
    file = io.BytesIO()
    if max(image.size) <= TINY:
        kind = "png"
        image.save(file, "PNG", optimize=True)
    else:
        kind = "jpeg"
        image.thumbnail((SIDE, SIDE))
        image.save(file, "JPEG", quality=QUALITY, optimize=True)
    return f"data:image/{kind};base64,{base64.b64encode(file.getvalue()).decode()}"


def captions(*parts: object) -> Html:
    """The lines under a picture."""
    return joined((element("span", part) for part in parts), "")
