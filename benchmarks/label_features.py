"""Features for the label benchmark: a small network taught on the pool's images, without labels.

SimCLR: two random looks at one image should land close, looks at different images far apart.
What comes out is kept in an .npz named by the content of the images and the recipe.
"""

import hashlib
import time
import zipfile
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, replace
from io import BytesIO
from pathlib import Path

import numpy as np
import torch
from label_regimes import ASIDE, COPIES, Sea
from PIL import Image
from torch import nn

from models.pretraining.simclr import nt_xent, small_encoder, two_views

PIXELS = 32
COPIED = 4_000  # images of which near copies are made
MOST_JUDGED = 5_000  # test images that a network looks at after every training


@dataclass(frozen=True)
class Recipe:
    """How the features are taught: all that changes what comes out."""

    epochs: float = 100.0  # an hour on two cores; 18 made features that are weaker by a tenth
    width: int = 64
    crop: int = 24  # looks are this small while teaching: half the work, and no worse
    batch: int = 256
    rate: float = 2e-3
    seed: int = 0


def read_images(source: Path) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """uint8 images [n, 32, 32, 3], their classes, and whether each lies under a folder `test`.

    The source is a ZIP or a folder of `<class>/<file>`, sorted by path, so that the order is the
    same everywhere. Without a `test` folder every sixth image of each class is the test.
    """
    paths, images = [], []
    for path, content in _files(source):
        with Image.open(BytesIO(content)) as image:
            small = image.convert("RGB").resize((PIXELS, PIXELS), Image.Resampling.BILINEAR)
        paths.append(Path(path))
        images.append(np.asarray(small))
    names = sorted({path.parent.name for path in paths})
    classes = np.array([names.index(path.parent.name) for path in paths])
    test = np.array(["test" in path.parts[:-2] for path in paths])
    if not test.any():
        for name in range(len(names)):
            test[np.flatnonzero(classes == name)[::6]] = True
    return np.stack(images), classes, test


def _files(source: Path) -> Iterator[tuple[str, bytes]]:
    endings = (".jpg", ".jpeg", ".png")
    if source.is_dir():
        for path in sorted(source.rglob("*")):
            if path.suffix.lower() in endings:
                yield str(path.relative_to(source)), path.read_bytes()
        return
    with zipfile.ZipFile(source) as archive:
        for name in sorted(archive.namelist()):
            if name.lower().endswith(endings):
                yield name, archive.read(name)


def taught(images: np.ndarray, recipe: Recipe) -> nn.Sequential:
    """A network taught on these images alone."""
    torch.manual_seed(recipe.seed)
    body = small_encoder(recipe.width).to(memory_format=torch.channels_last)
    width, size = 4 * recipe.width, min(recipe.batch, len(images))
    mouth = nn.Sequential(nn.Linear(width, width), nn.BatchNorm1d(width), nn.ReLU(),
                          nn.Linear(width, 128))  # fmt: skip
    parts = [*body.parameters(), *mouth.parameters()]
    tuned = torch.optim.AdamW(parts, lr=recipe.rate, weight_decay=1e-2)
    steps = int(recipe.epochs * (len(images) // size))
    rates = torch.optim.lr_scheduler.OneCycleLR(tuned, recipe.rate, steps, pct_start=0.1)
    rng, rows = np.random.default_rng(recipe.seed), np.empty(0, int)
    began, losses = time.monotonic(), np.zeros(steps)
    for step in range(steps):
        rows = rows if len(rows) >= size else rng.permutation(len(images))
        pixels = torch.from_numpy(images[rows[:size]]).permute(0, 3, 1, 2)
        rows = rows[size:]
        looks = _around_zero(two_views(pixels, rng, recipe.crop))
        with torch.autocast("cpu", torch.bfloat16):
            said = mouth(body(looks.contiguous(memory_format=torch.channels_last)))
        loss = nt_xent(said.float())
        tuned.zero_grad()
        loss.backward()
        tuned.step()
        rates.step()
        losses[step] = loss.item()
        if step % 100 == 99:
            words = f"step {step + 1}/{steps}: loss {losses[step - 99 : step + 1].mean():.3f}"
            print(f"{words}, {time.monotonic() - began:.0f} s", flush=True)
    return body.eval()


def as_pixels(images: np.ndarray) -> torch.Tensor:
    """uint8 [n, s, s, 3] -> float [n, 3, s, s] around zero."""
    return _around_zero(torch.from_numpy(images).permute(0, 3, 1, 2).float())


def _around_zero(pixels: torch.Tensor) -> torch.Tensor:
    return (pixels / 255 - 0.47) / 0.25


def cropped(pixels: torch.Tensor, size: int, rng: np.random.Generator) -> torch.Tensor:
    """A part of each image, as large for all, perhaps mirrored."""
    corners = rng.integers(0, pixels.shape[2] - size + 1, size=(len(pixels), 2))
    parts = [
        image[:, down : down + size, right : right + size]
        for image, (down, right) in zip(pixels, corners, strict=True)
    ]
    mirrored = torch.from_numpy(rng.random(len(pixels)) < 0.5)[:, None, None, None]
    whole = torch.stack(parts)
    return torch.where(mirrored, whole.flip(3), whole)


@torch.inference_mode()
def embedded(body: nn.Sequential, images: np.ndarray, chunk: int = 1000) -> np.ndarray:
    """One row of float32 for each image."""
    rows = []
    for begin in range(0, len(images), chunk):
        pixels = as_pixels(images[begin : begin + chunk])
        with torch.autocast("cpu", torch.bfloat16):
            seen = body(pixels.contiguous(memory_format=torch.channels_last))
        rows.append(seen.float().numpy())
    return np.concatenate(rows)


def with_mirror(body: nn.Sequential, images: np.ndarray) -> np.ndarray:
    """The mean over each image and its mirror."""
    return (embedded(body, images) + embedded(body, images[:, :, ::-1].copy())) / 2


def near_copies(images: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """[n, COPIES, s, s, 3]: every image moved by a pixel, noisier, saved as JPEG again."""
    copies = np.empty((len(images), COPIES, *images.shape[1:]), np.uint8)
    for number, image in enumerate(images):
        padded = np.pad(image, ((1, 1), (1, 1), (0, 0)), mode="edge").astype(np.float32)
        for copy in range(COPIES):
            down, right = rng.integers(0, 3, size=2)
            moved = padded[down : down + PIXELS, right : right + PIXELS] * rng.uniform(0.97, 1.03)
            noisy = np.clip(moved + rng.normal(0, 3, moved.shape), 0, 255).astype(np.uint8)
            file = BytesIO()
            Image.fromarray(noisy).save(file, "JPEG", quality=int(rng.integers(75, 96)))
            copies[number, copy] = np.asarray(Image.open(file))
    return copies


def sea_of(source: Path, recipe: Recipe, cache: Path, *, development: bool) -> Sea:
    """Features of everything; the test is the real one, or what was kept aside for development."""
    images, classes, test = read_images(source)
    made = features_of(images, test, recipe, cache)
    scaled = _scaler(made["features"][~test])
    parts = {"features": scaled(made["features"]), "copies": scaled(made["copies"])}
    return _sea(parts, classes, test, development=development)


def images_of(
    source: Path, recipe: Recipe, cache: Path, *, development: bool
) -> tuple[Sea, nn.Sequential]:
    """The same with images in the place of features, and the network that was taught."""
    images, classes, test = read_images(source)
    features_of(images, test, recipe, cache)
    copies = near_copies(images[copied_of(test)], np.random.default_rng(recipe.seed))
    body = small_encoder(recipe.width).to(memory_format=torch.channels_last)
    body.load_state_dict(torch.load(_place(images, test, recipe, cache).with_suffix(".pt")))
    sea = _sea({"features": images, "copies": copies}, classes, test, development=development)
    every = slice(None, None, 1 + len(sea.test_classes) // MOST_JUDGED)
    judged = {"test_features": sea.test_features[every], "test_classes": sea.test_classes[every]}
    return replace(sea, **judged), body.eval()


def _sea(
    parts: dict[str, np.ndarray], classes: np.ndarray, test: np.ndarray, *, development: bool
) -> Sea:
    aside = aside_of(test)
    pool = np.setdiff1d(np.flatnonzero(~test), aside)
    judged = aside if development else np.flatnonzero(test)
    return Sea(
        features=parts["features"][pool],
        classes=classes[pool],
        test_features=parts["features"][judged],
        test_classes=classes[judged],
        copies=parts["copies"],
        copied=np.searchsorted(pool, copied_of(test)),
    )


def aside_of(test: np.ndarray) -> np.ndarray:
    """Rows of the pool's side that are kept for development, whatever else is drawn."""
    pool = np.flatnonzero(~test)
    return np.sort(np.random.default_rng(11).permutation(pool)[: min(ASIDE, len(pool) // 10)])


def copied_of(test: np.ndarray) -> np.ndarray:
    """Rows of the pool's side of which near copies are made."""
    free = np.setdiff1d(np.flatnonzero(~test), aside_of(test))
    return np.sort(np.random.default_rng(0).permutation(free)[:COPIED])


def features_of(
    images: np.ndarray, test: np.ndarray, recipe: Recipe, cache: Path
) -> dict[str, np.ndarray]:
    """Features of all images and of near copies of some, from the cache where they are there."""
    path = _place(images, test, recipe, cache)
    if not path.exists():
        print("no features of these images yet: teaching a network without labels")
        body = taught(images[~test], recipe)
        torch.save(body.state_dict(), path.with_suffix(".pt"))
        copies = near_copies(images[copied_of(test)], np.random.default_rng(recipe.seed))
        seen = with_mirror(body, copies.reshape(-1, *images.shape[1:]))
        unfinished = path.with_suffix(".part.npz")
        np.savez(unfinished, features=with_mirror(body, images),
                 copies=seen.reshape(len(copies), COPIES, -1))  # fmt: skip
        unfinished.rename(path)
    with np.load(path) as kept:
        return dict(kept)


def _place(images: np.ndarray, test: np.ndarray, recipe: Recipe, cache: Path) -> Path:
    """Where the features of these images by this recipe are kept."""
    content = images[~test].tobytes() + repr(asdict(recipe)).encode()
    return cache / f"label-features-{hashlib.sha256(content).hexdigest()[:16]}.npz"


def _scaler(features: np.ndarray) -> Callable[[np.ndarray], np.ndarray]:
    """Every feature to mean zero and spread one over the pool, then every row to length one."""
    mean, spread = features.mean(axis=0), features.std(axis=0) + 1e-6

    def scaled(rows: np.ndarray) -> np.ndarray:
        rows = (rows - mean) / spread
        rows /= np.linalg.norm(rows, axis=-1, keepdims=True)
        return rows.astype(np.float32)

    return scaled
