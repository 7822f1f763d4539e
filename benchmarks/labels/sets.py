"""Sets of labelled images: a ZIP, a folder of one's own, Debian's Fashion-MNIST, and two classes.

A set is named by its path. `PATH:cat+dog+horse` makes two classes of it: these and all others.
"""

import gzip
import hashlib
import zipfile
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace
from io import BytesIO
from pathlib import Path

import numpy as np
from PIL import Image

ENDINGS = (".jpg", ".jpeg", ".png")
FEW = 0.28  # share of the named classes where two are made of a set
Images = list[np.ndarray]  # uint8 [height, width, 3] each


@dataclass(frozen=True)
class ImageSet:
    """Images that are decoded when asked for, their classes and whether each is for the test."""

    name: str
    fingerprint: str  # of the images, not of their classes
    read: Callable[[Iterable[int]], Images]
    classes: np.ndarray
    is_test: np.ndarray
    rows: np.ndarray  # that belong to it: all, but for a set of two classes


def image_set(source: str) -> ImageSet:
    """The set of this name: see the module."""
    path, _, few = source.partition(":")
    if (Path(path) / "train-images-idx3-ubyte.gz").is_file():
        names, whole = [str(number) for number in range(10)], _fashion(Path(path))
    else:
        names, whole = _of_files(Path(path))
    return _two_classes(whole, names, few.split("+")) if few else whole


def _of_files(source: Path) -> tuple[list[str], ImageSet]:
    """Images of `<class>/<file>`, sorted by path, so that the order is the same everywhere.

    Those under a folder `test` are the test; without one, every sixth image of each class.
    """
    listed = list(_listed(source))
    if not listed:
        raise SystemExit(f"{source} has no images: expected <class>/<file> with {ENDINGS}")
    paths = [Path(path) for path, _ in listed]
    names = sorted({path.parent.name for path in paths})
    classes = np.array([names.index(path.parent.name) for path in paths])
    is_test = np.array(["test" in path.parts[:-2] for path in paths])
    if not is_test.any():
        for name in range(len(names)):
            is_test[np.flatnonzero(classes == name)[::6]] = True

    def read(rows: Iterable[int]) -> Images:
        if source.is_dir():
            return [_decoded((source / paths[row]).read_bytes()) for row in rows]
        with zipfile.ZipFile(source) as archive:
            return [_decoded(archive.read(str(paths[row]))) for row in rows]

    fingerprint = hashlib.sha256(repr(listed).encode()).hexdigest()[:16]
    every = np.arange(len(paths))
    return names, ImageSet(source.stem, fingerprint, read, classes, is_test, every)


def _listed(source: Path) -> Iterator[tuple[str, int]]:
    """Every image's path within the source, and a number that changes with its content."""
    if source.is_dir():
        for path in sorted(source.rglob("*")):
            if path.suffix.lower() in ENDINGS:
                yield str(path.relative_to(source)), path.stat().st_size
        return
    with zipfile.ZipFile(source) as archive:
        for member in sorted(archive.infolist(), key=lambda member: member.filename):
            if member.filename.lower().endswith(ENDINGS):
                yield member.filename, member.CRC


def _decoded(content: bytes) -> np.ndarray:
    with Image.open(BytesIO(content)) as image:
        return np.asarray(image.convert("RGB"))


def _fashion(folder: Path) -> ImageSet:
    """Fashion-MNIST as Debian's package `dataset-fashion-mnist` installs it."""
    parts = [_idx(folder / f"{part}-images-idx3-ubyte.gz", 16) for part in ("train", "t10k")]
    labels = [_idx(folder / f"{part}-labels-idx1-ubyte.gz", 8) for part in ("train", "t10k")]
    images = np.concatenate(parts).reshape(-1, 28, 28)
    is_test = np.arange(len(images)) >= len(labels[0])

    def read(rows: Iterable[int]) -> Images:
        return [np.repeat(images[row][..., None], 3, axis=2) for row in rows]

    fingerprint = hashlib.sha256(images.tobytes()).hexdigest()[:16]
    classes = np.concatenate(labels).astype(np.int64)
    return ImageSet(folder.name, fingerprint, read, classes, is_test, np.arange(len(images)))


def _idx(path: Path, header: int) -> np.ndarray:
    return np.frombuffer(gzip.decompress(path.read_bytes())[header:], np.uint8)


def _two_classes(whole: ImageSet, names: list[str], few: list[str]) -> ImageSet:
    """These classes against all others; of these only as many as make `FEW` of all."""
    for name in few:
        if name not in names:
            raise SystemExit(f"{whole.name} has no class {name!r}; it has {', '.join(names)}")
    is_few = np.isin(whole.classes, [names.index(name) for name in few])
    left: list[np.ndarray] = []
    for part in (whole.is_test, ~whole.is_test):
        others, these = np.flatnonzero(part & ~is_few), np.flatnonzero(part & is_few)
        most = round(len(others) * FEW / (1 - FEW))
        left += [others, np.random.default_rng(5).permutation(these)[:most]]
    name = f"{whole.name} two classes"
    rows = np.sort(np.concatenate(left))
    return replace(whole, name=name, classes=is_few.astype(np.int64), rows=rows)
