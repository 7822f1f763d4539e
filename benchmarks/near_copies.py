"""How many near copies of images are found, and how often are distinct images taken for copies?

    python -m benchmarks.near_copies SOURCE [--images 10000] [--copies 500] [--json FILE]

SOURCE is a ZIP or a folder of `<class>/<file>`, or the folder of Debian's dataset-fashion-mnist.
Of some images copies are made of each kind below, one at a time beside all the images: found is
the share that `hone ingest` groups with its original (by thumbnails), and the share after choosing
a batch with the copy in it (by features, too). Then all images without the copies are asked for
copies among themselves: what is named there are real duplicates of the set or distinct images.
`--picture` shows these pairs, to be judged by eye; those of different classes are false for sure.
"""

import argparse
import json
import tempfile
from collections.abc import Sequence
from io import BytesIO
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from PIL import Image

from benchmarks.watch.features import read_images
from core.images import CleanImage, clean_image
from core.shards import write_shard
from labeling.ingest.aligned_copies import aligned_copies
from labeling.ingest.near_duplicates import ThumbnailIndex
from models.pretraining.cold_start import cold_start_embeddings

FILTERS = (Image.Resampling.BILINEAR, Image.Resampling.BICUBIC, Image.Resampling.LANCZOS)


def main() -> None:
    """Make the copies, look for them, print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("source", type=Path)
    parser.add_argument("--images", type=int, default=10_000)
    parser.add_argument("--copies", type=int, default=500, help="images of which copies are made")
    parser.add_argument("--features", default="auto", help="as HONE_FEATURES")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--json", type=Path, help="a line is added to it")
    parser.add_argument("--picture", type=Path, help="pairs of images that are taken for copies")
    given = parser.parse_args()
    torch.set_num_threads(1)
    rng = np.random.default_rng(given.seed)
    pictures, classes = read_images(given.source, given.images)
    originals = [clean_image(jpeg(picture, 95)) for picture in pictures]
    kinds, copies = copies_of(pictures[: given.copies], rng)
    everything = [*originals, *copies]
    features, source = embedded(everything, given.features, given.threads)
    print(f"{len(originals):,} images, {len(copies):,} copies; {source}")
    found = {}
    asked = np.arange(min(given.copies, len(originals)))
    for number, kind in enumerate(kinds):
        part = copies[number :: len(kinds)]
        rows = len(originals) + np.arange(number, len(copies), len(kinds))
        found[kind] = {
            "thumbnails": by_thumbnails(originals, part),
            "features": by_features(features, everything, len(originals), rows, asked),
        }
    pairs = pairs_among(features[: len(originals)], originals)
    differ = sum(int(classes[one] != classes[other]) for one, other in pairs)
    facts = {
        "source": given.source.name,
        "images": len(originals),
        "copies": len(asked),
        "found": found,
        "pairs": len(pairs),
        "of other classes": differ,
    }
    print("| copy | ingest | ingest and choosing |\n|---|---|---|")
    for kind, shares in found.items():
        print(f"| {kind} | {shares['thumbnails']:.3f} | {shares['features']:.3f} |")
    print(f"without copies: {len(pairs)} pairs among {len(originals):,}, {differ} of other classes")
    if given.json:
        with given.json.open("a") as file:
            file.write(json.dumps(facts) + "\n")
    if given.picture and pairs:
        show(pictures, pairs, given.picture)


def jpeg(picture: np.ndarray, quality: int) -> bytes:
    """The picture as a file."""
    Image.fromarray(np.ascontiguousarray(picture)).save(
        buffer := BytesIO(), "JPEG", quality=quality
    )
    return buffer.getvalue()


def copies_of(
    pictures: Sequence[np.ndarray], rng: np.random.Generator
) -> tuple[list[str], list[CleanImage]]:
    """The kinds of copies, and of each picture one of each kind."""
    made = [copies_by_kind(picture, rng) for picture in pictures]
    return list(made[0]), [clean_image(content) for one in made for content in one.values()]


def copies_by_kind(picture: np.ndarray, rng: np.random.Generator) -> dict[str, bytes]:
    """One copy of each kind, as a file."""
    side = len(picture)
    padded = np.pad(picture, ((2, 2), (2, 2), (0, 0)), mode="edge")
    down, right = rng.choice([-2, -1, 1, 2], 2)
    loud = picture + rng.normal(0, 4, picture.shape)
    light = picture * rng.uniform(0.85, 1.15) + rng.uniform(-20, 20)
    moved = padded[2 + down // 2 :, 2 + right // 2 :][:side, :side]
    noisy = moved * rng.uniform(0.97, 1.03) + rng.normal(0, 3, picture.shape)
    return {
        "JPEG again, quality 50 to 90": jpeg(picture, int(rng.integers(50, 91))),
        "larger, 1.3 to 2.5 times": jpeg(resized(picture, rng.uniform(1.3, 2.5), rng), 90),
        "smaller, 0.6 to 0.9 times": jpeg(resized(picture, rng.uniform(0.6, 0.9), rng), 90),
        "brightness and contrast, 15 %": jpeg(clipped(light), 90),
        "noise of 4 grey levels": jpeg(clipped(loud), 90),
        "shifted by 1 or 2 px both ways": jpeg(padded[2 + down :, 2 + right :][:side, :side], 90),
        "cropped by up to 8 % a side": jpeg(cropped(picture, 0.08, rng), 90),
        "cropped by up to 20 % a side": jpeg(cropped(picture, 0.2, rng), 90),
        "moved by a pixel, noise, JPEG": jpeg(clipped(noisy), int(rng.integers(75, 96))),
    }


def clipped(numbers: np.ndarray) -> np.ndarray:
    """The numbers as grey levels."""
    return np.clip(np.rint(numbers), 0, 255).astype(np.uint8)


def resized(picture: np.ndarray, factor: float, rng: np.random.Generator) -> np.ndarray:
    """The picture at another size, by one of three filters."""
    side = round(len(picture) * factor)
    chosen = FILTERS[int(rng.integers(len(FILTERS)))]
    return np.asarray(Image.fromarray(picture).resize((side, side), chosen))


def cropped(picture: np.ndarray, share: float, rng: np.random.Generator) -> np.ndarray:
    """A part of the picture: up to this share is missing on each side, at least one row."""
    side = len(picture)
    top, bottom, left, right = rng.integers(0, round(side * share) + 1, 4)
    return picture[max(1, top) : side - bottom, left : side - right]


def embedded(images: Sequence[CleanImage], features: str, threads: int) -> tuple[np.ndarray, str]:
    """The embeddings before any model of these images."""
    with tempfile.TemporaryDirectory(prefix="hone-benchmark-") as made:
        shards = Path(made)
        unique = {image.sample_id: image.content for image in images}
        places = write_shard(shards, list(unique.items()))
        rows = [
            {
                "sample_id": name,
                "shard": place.shard,
                "offset": place.offset,
                "length": place.length,
                "stored_sha256": place.sha256,
            }
            for name, place in zip(unique, places, strict=True)
        ]
        found, source = cold_start_embeddings(
            pd.DataFrame(rows), shards, 32, folder=shards / "features", features=features,
            threads=threads,
        )  # fmt: skip
        place_of = {name: number for number, name in enumerate(unique)}
        return np.array(found)[[place_of[image.sample_id] for image in images]], source


def by_thumbnails(originals: Sequence[CleanImage], copies: Sequence[CleanImage]) -> float:
    """The share of the copies that an ingest groups with their originals."""
    index = ThumbnailIndex()
    index.remember([str(row) for row in range(len(originals))], [o.thumbnail for o in originals])
    pairs = set(index.add([f"copy {row}" for row in range(len(copies))],
                          [copy.thumbnail for copy in copies]))  # fmt: skip
    return sum((f"copy {row}", str(row)) in pairs for row in range(len(copies))) / len(copies)


def by_features(
    features: np.ndarray,
    images: Sequence[CleanImage],
    count: int,
    rows: np.ndarray,
    originals: np.ndarray,
) -> float:
    """The share of the copies that ingest or the features find, each in a batch of its own."""
    thumbnails = [image.thumbnail for image in images]
    both = np.concatenate([np.arange(count), rows])
    pairs = aligned_copies(
        features[both],
        count + np.arange(len(rows)),
        lambda at: [thumbnails[both[row]] for row in at],
    )
    named = set(pairs)
    alike = ThumbnailIndex()
    alike.remember([str(row) for row in range(count)], thumbnails[:count])
    for name, other in alike.add([str(count + row) for row in range(len(rows))],
                                 [thumbnails[row] for row in rows]):  # fmt: skip
        named.add((int(name), int(other)))
    return sum((count + row, int(originals[row])) in named for row in range(len(rows))) / len(rows)


def pairs_among(features: np.ndarray, images: Sequence[CleanImage]) -> list[tuple[int, int]]:
    """Pairs of images that are taken for copies, each once."""
    thumbnails = [image.thumbnail for image in images]
    pairs = set()
    for start in range(0, len(images), 500):
        rows = np.arange(start, min(start + 500, len(images)))
        found = aligned_copies(features, rows, lambda at: [thumbnails[row] for row in at])
        pairs |= {(min(pair), max(pair)) for pair in found}
    return sorted(pairs)


def show(pictures: np.ndarray, pairs: Sequence[tuple[int, int]], path: Path) -> None:
    """Pairs side by side, ten in a row."""
    side = pictures.shape[1]
    rows = -(-len(pairs) // 10)
    page = np.full((rows * (side + 4), 10 * (2 * side + 10), 3), 255, np.uint8)
    for number, pair in enumerate(pairs):
        top, left = number // 10 * (side + 4), number % 10 * (2 * side + 10)
        for place, row in enumerate(pair):
            at = left + place * (side + 1)
            page[top : top + side, at : at + side] = pictures[row]
    Image.fromarray(page).resize((2 * page.shape[1], 2 * page.shape[0])).save(path)


if __name__ == "__main__":
    main()
