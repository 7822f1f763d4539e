"""Every backbone that docs/guides/serve.md lists answers through the service as `predict` does."""

import re
from dataclasses import replace
from functools import partial
from pathlib import Path

import pytest
import torch

from core.images import decode_inspected, inspect_image
from models.network.images import prepare
from models.network.network import NetworkConfig, build
from models.registry.model_store import LoadedModel
from models.runtimes.agreement import EMBEDDING, PROBABILITY, compare
from models.runtimes.candidates import CANDIDATES
from models.runtimes.choice import Choice, Timed
from models.runtimes.loading import eager, source_of
from models.runtimes.policy import Policy
from models.runtimes.probe import SIZES
from models.scoring.predict import predict
from models.serving.batcher import Inference
from models.serving.release_follower import ActiveModel
from models.serving.segments import SegmentWriter
from tests.models.saved_models import CLASSES, make_card, png

DOCS = Path(__file__).parents[3] / "docs" / "guides" / "serve.md"
LISTED = re.search(r"Measured with: (.*?)\.\n", DOCS.read_text(encoding="utf-8"))
BACKBONES = re.findall(r"`([a-z0-9_]+)`", LISTED[1] if LISTED else "")
SIDE = 32
ENGINES = [name for name, one in CANDIDATES.items() if one.family != "torch" and not one.bf16]
PNGS = [png(seed, SIDE) for seed in range(3)]  # a batch of two and one of one


def test_the_list_is_there() -> None:
    assert {"resnet18", "mobilenet_v3_small", "efficientnet_b0"} <= set(BACKBONES)


@pytest.mark.parametrize("backbone", BACKBONES)
def test_the_service_answers_as_predict_does_with_every_engine(
    backbone: str, tmp_path: Path
) -> None:
    torch.manual_seed(0)
    config = NetworkConfig(backbone, small_stem=False)
    network = build(config, classes=len(CLASSES), image_size=SIDE).eval()
    network.temperature.fill_(1.5)
    card = make_card(image_size=SIDE, network={"backbone": backbone})
    model = LoadedModel("hone:0001-a", "abc", network, card, predict(network, torch.empty(0)))
    pixels = torch.stack([prepare(decode_inspected(inspect_image(one)), SIDE) for one in PNGS])
    expected = predict(network, pixels)
    for name in ENGINES:
        runtime = eager(model, threads=1)
        engine = CANDIDATES[name].load(source_of(model, tmp_path, threads=1))
        sizes = {size: Timed(name, 1.0, 1.0) for size in SIZES}
        choice = Choice(model.version, "abc", Policy.AUTO, {}, "now", 1.0, "images", sizes)
        runtime.use(dict.fromkeys(SIZES, engine), choice)
        writer = SegmentWriter(tmp_path / name)
        active = ActiveModel(replace(model, runtime=runtime))
        inference = Inference(partial(replace, active), writer, needs_review_below=0, threads=1)
        answers = inference.ask("request", PNGS).result(timeout=60)
        inference.close()
        writer.close()
        assert runtime.problem is None
        for answer, row in zip(answers, expected.outputs, strict=True):
            assert list(answer["probabilities"].values()) == pytest.approx(row, abs=1e-4)
            assert answer["label"] == CLASSES[int(row.argmax())]
        given = runtime.predict(pixels)
        agreement = compare(expected, given, card.label_kind, CLASSES)
        assert agreement.problem() is None
        assert agreement.probability < PROBABILITY / 100
        assert agreement.embedding < EMBEDDING / 10
