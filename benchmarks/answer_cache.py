"""What the cache of answers costs and saves: processor time of an answer, by how many come again.

    python benchmarks/answer_cache.py [--backbone mobilenet_v3_small] [--size 64] [--side 256]
        [--images 200] [--repeats 0 0.1 0.3 0.5 0.9]

One image a request, decoded, answered and recorded as in the service, in this process and without
HTTP. `side` is that of the JPEGs sent. `miss` is an image that never came, `hit` one that did, and
`off` a service without a cache; all in turns. A share of repeats is played, not only computed.
"""

import argparse
import io
import tempfile
import time
from pathlib import Path

import numpy as np
from PIL import Image

from core.database import now
from models.network.network import NetworkConfig, build
from models.registry.model_card import ModelCard
from models.registry.model_store import LoadedModel
from models.scoring.predict import Predictions
from models.serving.answer_cache import MEBIBYTE, AnswerCache
from models.serving.batcher import Inference
from models.serving.release_follower import ActiveModel
from models.serving.segments import SegmentWriter

CLASSES = tuple("abcdefghij")
WARM_UP = 20


def jpegs(count: int, side: int, seed: int) -> list[bytes]:
    """So many different pictures: smooth colours with noise, as large as a photo of that side."""
    rng = np.random.default_rng(seed)
    made = []
    for _ in range(count):
        small = Image.fromarray(rng.integers(0, 256, (8, 8, 3), dtype=np.uint8))
        smooth = np.asarray(small.resize((side, side), Image.Resampling.BICUBIC), dtype=float)
        noisy = (smooth + rng.normal(0, 8, smooth.shape)).clip(0, 255).astype(np.uint8)
        file = io.BytesIO()
        Image.fromarray(noisy).save(file, "JPEG", quality=85)
        made.append(file.getvalue())
    return made


def loaded(backbone: str, size: int) -> LoadedModel:
    """An untrained model: how right it is changes no time."""
    network = build(NetworkConfig(backbone=backbone), classes=len(CLASSES), image_size=size).eval()
    card = ModelCard(
        classes=CLASSES, image_size=size, network={"backbone": backbone}, snapshot="none",
        code_commit="none", seed=0, train={}, strategy="none", metrics={}, created_at=now(),
    )  # fmt: skip
    none = Predictions(np.empty((0, len(CLASSES)), np.float32), np.empty((0, 1), np.float32))
    return LoadedModel("hone:0001-benchmark", "0" * 64, network, card, none)


def milliseconds(inference: Inference, images: list[bytes]) -> float:
    """Processor time of an answer, all threads of this process together."""
    began = time.process_time()
    for number, image in enumerate(images):
        inference.ask(f"{id(images)}-{number}", [image]).result()
    return 1000 * (time.process_time() - began) / len(images)


def main() -> None:
    """Print hit, miss and off, and what each share of repeats saves."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--backbone", default="mobilenet_v3_small")
    for name, value in (("size", 64), ("side", 256), ("images", 200), ("turns", 3)):
        parser.add_argument(f"--{name}", type=int, default=value)
    parser.add_argument("--repeats", type=float, nargs="+", default=[0.0, 0.1, 0.3, 0.5, 0.9])
    given = parser.parse_args()
    active = ActiveModel(loaded(given.backbone, given.size))
    with tempfile.TemporaryDirectory() as folder:
        writer = SegmentWriter(Path(folder))
        services = [
            Inference(lambda: active, writer, needs_review_below=0.8, threads=1, cache=cache)
            for cache in (AnswerCache(64 * MEBIBYTE), AnswerCache(0))
        ]
        cached, off = services
        for service in services:
            milliseconds(service, jpegs(WARM_UP, given.side, 0))
        times: dict[str, list[float]] = {"off": [], "miss": [], "hit": []}
        for turn in range(given.turns):
            images = jpegs(given.images, given.side, 1 + turn)
            times["off"].append(milliseconds(off, images))
            times["miss"].append(milliseconds(cached, images))
            times["hit"].append(milliseconds(cached, images))
        median = {name: float(np.median(values)) for name, values in times.items()}
        print(f"{given.backbone} at {given.size} px, JPEGs of {given.side} x {given.side}:")
        for name, taken in median.items():
            print(f"  {name:4} {taken:.2f} ms of processor time an answer")
        seen = jpegs(given.images, given.side, 1)
        for share in given.repeats:
            again = round(share * given.images)
            mixed = seen[:again] + jpegs(given.images - again, given.side, 100 + again)
            order = np.random.default_rng(0).permutation(given.images)
            spent = milliseconds(cached, [mixed[place] for place in order])
            print(f"  {share:4.0%} again: {spent:.2f} ms, {1 - spent / median['off']:+.0%} saved")
        for service in services:
            service.close()


if __name__ == "__main__":
    main()
