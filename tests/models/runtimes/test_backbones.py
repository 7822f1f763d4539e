"""Every backbone that docs/guides/serve.md lists answers through the service as `predict` does.

1,000 images of each with the engines, most of them in the largest batches. Torch in another layout
or number format serves 232, which keeps the file at a minute of processor time.
"""

import re
import shutil
from collections.abc import Iterator
from dataclasses import replace
from functools import partial
from io import BytesIO
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn

from core.images import decode_inspected, inspect_image
from models.network.images import prepare
from models.network.network import Network, NetworkConfig, build
from models.registry.model_store import LoadedModel
from models.runtimes.agreement import EMBEDDING, PROBABILITY, SAME_LABEL, compare
from models.runtimes.candidates import CANDIDATES
from models.runtimes.choice import EAGER, Choice, Timed
from models.runtimes.loading import eager, source_of
from models.runtimes.policy import Policy
from models.runtimes.probe import LEAST_IMAGES, SIZES
from models.runtimes.probe_images import patterns
from models.runtimes.runtime import Runtime
from models.scoring.predict import Predictions, predict
from models.serving.batcher import Inference
from models.serving.release_follower import ActiveModel
from models.serving.segments import SegmentWriter
from tests.models.saved_models import CLASSES, make_card

DOCS = Path(__file__).parents[3] / "docs" / "guides" / "serve.md"
LISTED = re.search(r"Measured with: (.*?)\.\n", DOCS.read_text(encoding="utf-8"))
BACKBONES = re.findall(r"`([a-z0-9_]+)`", LISTED[1] if LISTED else "")
SIDE, IMAGES = 32, 1000
KIND = make_card().label_kind
REQUESTS = (1, 1, 2, 4, 32, *[64] * 15)  # images of each
SOME = 8  # requests that torch's variants serve


def test_the_list_is_there() -> None:
    assert {"resnet18", "mobilenet_v3_small", "efficientnet_b0"} <= set(BACKBONES)
    assert sum(REQUESTS) == IMAGES


@pytest.fixture(scope="module")
def pngs() -> list[bytes]:
    """The images as clients send them."""
    files = []
    for pixels in patterns(IMAGES, SIDE).permute(0, 2, 3, 1).numpy():
        file = BytesIO()
        Image.fromarray(pixels).save(file, "PNG", compress_level=1)
        files.append(file.getvalue())
    return files


@pytest.fixture(scope="module")
def pixels(pngs: list[bytes]) -> torch.Tensor:
    """The same as `predict` takes them."""
    return torch.stack([prepare(decode_inspected(inspect_image(one)), SIDE) for one in pngs])


class Noted:
    """A runtime, and all that it predicted."""

    def __init__(self, inner: Runtime) -> None:
        self.name, self.key = inner.name, inner.key
        self._inner, self.given = inner, list[Predictions]()

    def predict(self, images: torch.Tensor) -> Predictions:
        rows = self._inner.predict(images)
        self.given.append(rows)
        return rows


def lively(backbone: str, images: torch.Tensor) -> Network:
    """A network of random weights whose answers differ from image to image, as a trained one's do.

    BatchNorm has the statistics of the images, and the head the scale of their embeddings.
    """
    torch.manual_seed(0)
    config = NetworkConfig(backbone, small_stem=False)
    network = build(config, classes=len(CLASSES), image_size=SIDE)
    network.temperature.fill_(1.5)
    for part in network.modules():
        if isinstance(part, nn.BatchNorm2d):
            part.momentum = None  # the mean of all batches: of one
    with torch.no_grad():
        network.train().embed(images.float())
        rows = network.eval().embed(images.float())
        weight = torch.randn(len(CLASSES), rows.shape[1])
        weight *= 4 / ((rows - rows.mean(0)) @ weight.T).std()
        [head] = [part for part in network.head.modules() if isinstance(part, nn.Linear)]
        head.weight.copy_(weight)
        head.bias.copy_(-weight @ rows.mean(0))
    return network


def served(
    model: LoadedModel, engine: Runtime, requests: list[list[bytes]], folder: Path
) -> Iterator[tuple[str, list[float]]]:
    """Label and probabilities of each image, as the service answers with this runtime."""
    runtime = eager(model, threads=1)
    sizes = {size: Timed(engine.name, 1.0, 1.0) for size in SIZES}
    choice = Choice(model.version, model.sha256, Policy.AUTO, {}, "now", 1.0, "images", sizes)
    runtime.use(dict.fromkeys(SIZES, engine), choice)
    writer = SegmentWriter(folder)
    active = ActiveModel(replace(model, runtime=runtime))
    inference = Inference(partial(replace, active), writer, needs_review_below=0, threads=1)
    for number, images in enumerate(requests):
        for one in inference.ask(f"request-{number}", images).result(timeout=60):
            yield one["label"], list(one["probabilities"].values())
    inference.close()
    writer.close()
    shutil.rmtree(folder)  # megabytes, of each engine
    assert runtime.problem is None


def refused(expected: Predictions, engine: Runtime, pixels: torch.Tensor) -> bool:
    """Whether the first images are enough for the probe to refuse a runtime."""
    given = engine.predict(pixels[:LEAST_IMAGES])
    return compare(expected.first(LEAST_IMAGES), given, KIND, CLASSES).problem() is not None


@pytest.mark.parametrize("backbone", BACKBONES)
def test_the_service_answers_as_predict_does_with_every_engine(
    backbone: str, tmp_path: Path, pngs: list[bytes], pixels: torch.Tensor
) -> None:
    """What does not agree, as bf16 may not with random weights, the product itself refuses."""
    network = lively(backbone, pixels[:64])
    card = make_card(image_size=SIDE, network={"backbone": backbone})
    model = LoadedModel("hone:0001-a", "abc", network, card, predict(network, torch.empty(0)))
    reference = predict(network, pixels, threads=1)
    left = iter(pngs)
    requests = [[next(left) for _ in range(count)] for count in REQUESTS]
    for name, candidate in CANDIDATES.items():
        if name == EAGER or candidate.missing():
            continue
        engine = Noted(candidate.load(source_of(model, tmp_path, threads=1)))
        if candidate.bf16 and refused(reference, engine, pixels):
            continue
        engine.given.clear()
        mine = requests[:SOME] if candidate.family == "torch" else requests
        answers = list(served(model, engine, mine, tmp_path / name))
        expected = reference.first(len(answers))
        labels = np.array(CLASSES)[expected.outputs.argmax(1)]
        assert min(np.mean(labels == one) for one in CLASSES) > 0.02, "answers differ"
        same = labels == [label for label, _ in answers]
        apart = np.abs(expected.outputs - [row for _, row in answers]).max()
        agreement = compare(expected, Predictions.joined(engine.given), KIND, CLASSES)
        assert agreement.same_label == np.mean(same)
        assert agreement.probability == pytest.approx(apart, abs=1e-5)
        if agreement.problem() is None:
            assert np.mean(same) >= SAME_LABEL and apart <= PROBABILITY
        if not candidate.bf16:  # the last digits may decide between two classes, and nothing else
            *_, second, first = np.sort(expected.outputs).T
            assert same[first - second > PROBABILITY / 5].all()
            assert apart < PROBABILITY / 10 and agreement.embedding < EMBEDDING / 10
