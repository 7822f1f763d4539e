"""How many planted label errors does a review of 100 suspects find, against a random review?

    .venv/bin/python benchmarks/label_errors.py [IMAGES] [--seeds 5]

5 % of the labels are changed to another class at random. scikit-learn's digits come with the
project; IMAGES is a folder, or a zip file, of `<class>/<file>`, of which 4,000 are drawn. The
digits are seen as their pixels; the images by how much they have of 500 whitened patches (Coates,
Lee and Ng, 2011), which takes half a minute and knows no labels, but tells classes apart worse than
a network trained on many images: better embeddings find more. The ceiling is what a perfect review
finds, 100 of more than 100. A minute in all.
"""

import argparse
import io
import os
import time
import zipfile
from collections.abc import Callable
from functools import partial
from pathlib import Path, PurePosixPath

os.environ.setdefault("OMP_NUM_THREADS", "1")

import numpy as np
import pandas as pd

from labeling.quality.label_errors import find_label_errors, out_of_fold_probs

REVIEWED, FLIPPED = 100, 0.05
DRAWN, SIDE, FILTERS, PATCH = 4000, 32, 500, 6
ENDINGS = (".jpg", ".jpeg", ".png")
Seen = tuple[np.ndarray, np.ndarray]  # embeddings and classes


def main(words: list[str] | None = None) -> None:
    """Print a row for each set of images."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("images", type=Path, nargs="?", help="folder or zip of <class>/<file>")
    parser.add_argument("--seeds", type=int, default=5)
    given = parser.parse_args(words)
    sets = {"digits": load_digits()}
    if given.images is not None:
        sets[given.images.stem] = load_images(given.images, np.random.default_rng(0))
    print(f"{FLIPPED:.0%} of the labels flipped, {REVIEWED} reviewed, mean of {given.seeds} seeds")
    print(
        f"{'images':<16}{'labels':>7}{'planted':>8}{'model right':>12}{'suspects':>9}"
        f"{'recall':>7}{'random':>7}{'ratio':>7}{'ceiling':>8}{'precision':>10}{'s/seed':>7}"
    )
    for name, seen in sets.items():
        found = pd.DataFrame([review(*seen, seed) for seed in range(given.seeds)])
        print_row(name, found)


def review(embeddings: np.ndarray, truths: np.ndarray, seed: int) -> dict[str, float]:
    """What a review of the worst 100 finds of the errors that `seed` plants."""
    rng = np.random.default_rng([seed, 5])
    labels, planted = flip(truths, rng)
    names = [f"{row:06d}" for row in range(len(labels))]
    started = time.perf_counter()
    probs = out_of_fold_probs(embeddings, labels.tolist(), names, seed=seed)
    suspected = find_label_errors(names, labels.tolist(), probs, limit=len(names))
    seconds = time.perf_counter() - started
    worst = suspected["sample_id"].astype(int)[:REVIEWED]
    hits = len(set(worst) & set(planted))
    return {
        "labels": len(labels),
        "planted": len(planted),
        "right": float((probs.idxmax(axis=1) == truths).mean()),
        "suspects": len(suspected),
        "recall": hits / len(planted),
        "random": REVIEWED / len(labels),  # of any review that does not look
        "ceiling": min(1.0, REVIEWED / len(planted)),
        "precision": hits / len(worst),
        "seconds": seconds,
    }


def flip(truths: np.ndarray, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """Labels of which some are another class, all as likely, and the rows of those."""
    classes = np.unique(truths)
    planted = rng.choice(len(truths), round(FLIPPED * len(truths)), replace=False)
    labels = truths.copy()
    steps = rng.integers(1, len(classes), len(planted))
    labels[planted] = classes[(np.searchsorted(classes, truths[planted]) + steps) % len(classes)]
    return labels, planted


def load_digits() -> Seen:
    """The pixels of scikit-learn's 1,797 digits."""
    from sklearn.datasets import load_digits as load

    bunch = load()
    return bunch.data.astype(np.float32), bunch.target.astype(str)


def load_images(place: Path, rng: np.random.Generator) -> Seen:
    """4,000 of the images, as patches see them."""
    from PIL import Image

    members = listed(place)
    drawn = [
        members[row] for row in rng.choice(len(members), min(DRAWN, len(members)), replace=False)
    ]
    pixels = np.empty((len(drawn), 3, SIDE, SIDE), np.float32)
    for row, (_, read) in enumerate(drawn):
        image = Image.open(io.BytesIO(read())).convert("RGB").resize((SIDE, SIDE))
        pixels[row] = np.asarray(image).transpose(2, 0, 1)
    return patch_features(pixels, rng), np.array([name for name, _ in drawn])


def listed(place: Path) -> list[tuple[str, Callable[[], bytes]]]:
    """The class of each image in a folder or a zip file, and how to read it."""
    if place.is_dir():
        files = sorted(path for path in place.rglob("*") if path.suffix.lower() in ENDINGS)
        return [(path.parent.name, path.read_bytes) for path in files]
    archive = zipfile.ZipFile(place)
    names = sorted(name for name in archive.namelist() if name.lower().endswith(ENDINGS))
    return [(PurePosixPath(name).parent.name, partial(archive.read, name)) for name in names]


def patch_features(pixels: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """How much each quarter of an image has of each of 500 patches drawn from the images."""
    import torch
    from sklearn.decomposition import PCA

    images = torch.from_numpy(pixels)
    corners = rng.integers(0, SIDE - PATCH, (20_000, 2))
    rows = rng.integers(0, len(pixels), len(corners))
    patches = np.stack(
        [
            pixels[row, :, y : y + PATCH, x : x + PATCH].ravel()
            for row, (y, x) in zip(rows, corners, strict=True)
        ]
    )
    patches = (patches - patches.mean(1, keepdims=True)) / (patches.std(1, keepdims=True) + 3)
    values, axes = np.linalg.eigh(np.cov(patches.T))
    whiten = axes @ np.diag((values + 0.1) ** -0.5) @ axes.T
    filters = patches[:FILTERS] @ whiten
    filters /= np.linalg.norm(filters, axis=1, keepdims=True) + 1e-6  # flat ones are nothing
    bank = torch.from_numpy((filters @ whiten).astype(np.float32)).view(-1, 3, PATCH, PATCH)
    parts = []
    with torch.inference_mode():
        for batch in images.split(100):
            patch = torch.nn.functional.unfold(batch, PATCH)  # [n, 108, places]
            patch = (patch - patch.mean(1, keepdim=True)) / (patch.std(1, keepdim=True) + 3)
            side = SIDE - PATCH + 1
            hit = (bank.flatten(1) @ patch).view(len(batch), FILTERS, side, side)
            halves = [torch.relu(sign * hit - 0.5) for sign in (1, -1)]
            pooled = torch.nn.functional.adaptive_avg_pool2d(torch.cat(halves, 1), 2)
            parts.append(pooled.flatten(1).numpy())
    features = np.concatenate(parts)
    features = (features - features.mean(0)) / (features.std(0) + 1e-3)
    return PCA(256, random_state=0).fit_transform(features).astype(np.float32)


def print_row(name: str, found: pd.DataFrame) -> None:
    """One line of the table: means over the seeds."""
    mean = found.mean()
    print(
        f"{name:<16}{mean['labels']:7.0f}{mean['planted']:8.0f}{mean['right']:12.2f}"
        f"{mean['suspects']:9.0f}{mean['recall']:7.2f}{mean['random']:7.3f}"
        f"{mean['recall'] / mean['random']:6.1f}x{mean['ceiling']:8.2f}{mean['precision']:10.2f}"
        f"{mean['seconds']:7.1f}"
    )


if __name__ == "__main__":
    main()
