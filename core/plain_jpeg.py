"""The pixels of an ordinary JPEG, without Pillow: to read its headers takes Pillow as long as this.

`decode` is simplejpeg's, five times as fast as Pillow's; None where that is not installed.
"""

from collections.abc import Callable

import numpy as np

from core.image_formats import check_scans, jpeg_frames

_COLOURS, _BITS = 3, 8  # of a frame that Pillow takes for RGB, whatever its colour space


def _decoder() -> Callable[..., np.ndarray] | None:
    try:
        import simplejpeg
    except ImportError:
        return None
    decode: Callable[..., np.ndarray] = simplejpeg.decode_jpeg
    return decode


decode = _decoder()


def plain_jpeg(bare: bytes, *, most_pixels: int) -> np.ndarray | None:
    """The pixels, uint8 [height, width, 3], of a bare JPEG in 8-bit colour that is whole.

    None of any other, and of any that libjpeg has a warning about.
    """
    if decode is None:
        return None
    frames = list(jpeg_frames(bare))
    if len(frames) != 1:
        return None
    [frame] = frames
    ordinary = frame.components == _COLOURS and frame.bits == _BITS
    if not ordinary or not 0 < frame.width * frame.height <= most_pixels:
        return None
    check_scans(bare, frames)
    try:
        return decode(bare, colorspace="RGB", strict=True)
    except ValueError:
        return None
