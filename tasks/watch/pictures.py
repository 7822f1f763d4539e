"""Pictures of served images for people, masked by the policy: side by side, in one PNG."""

import io
from collections.abc import Sequence
from typing import Any

import numpy as np
from PIL import Image

from core.images import clean_image, decode_image
from core.masking import mask_image
from models.serving.prediction_store import find_prediction, read_served_image
from tasks.context import Context

SHOWN = 6  # images in one strip
SIDE, GAP = 160, 8  # pixels of an image's longer side, and between two


def exemplar_strip(ctx: Context, prediction_ids: Sequence[str]) -> bytes | None:
    """The images of these predictions side by side as a PNG; None when none can be shown.

    One that is erased, damaged or cannot be masked is left out: the alert is sent all the same.
    """
    pictures: list[Image.Image] = []
    for prediction_id in prediction_ids:
        picture = _picture(ctx, prediction_id) if len(pictures) < SHOWN else None
        if picture is not None:
            pictures.append(picture)
    return strip(pictures) if pictures else None


def shown_pixels(ctx: Context, row: Any) -> np.ndarray:
    """The pixels of a served image as they may leave the machine; `ImageRefused` where none may."""
    received = clean_image(read_served_image(ctx.workspace.traffic, row))
    return decode_image(mask_image(received, ctx.policies.retention.mask).content)


def strip(pictures: Sequence[Image.Image]) -> bytes:
    """Pictures side by side on white as a PNG."""
    width = sum(picture.width for picture in pictures) + GAP * (len(pictures) - 1)
    canvas = Image.new("RGB", (width, max(picture.height for picture in pictures)), "white")
    left = 0
    for picture in pictures:
        canvas.paste(picture, (left, 0))
        left += picture.width + GAP
    png = io.BytesIO()
    canvas.save(png, "PNG")
    return png.getvalue()


def _picture(ctx: Context, prediction_id: str) -> Image.Image | None:
    row = find_prediction(ctx.engine, prediction_id)
    if row is None:
        return None
    try:
        pixels = shown_pixels(ctx, row)
    except (OSError, ValueError) as error:
        print(f"the image of {prediction_id} is not shown: {error}")
        return None
    picture = Image.fromarray(pixels)
    share = SIDE / max(picture.size)
    size = max(round(picture.width * share), 1), max(round(picture.height * share), 1)
    method = Image.Resampling.NEAREST if share > 2 else Image.Resampling.BICUBIC
    return picture.resize(size, method)
