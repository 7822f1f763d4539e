"""A probe: the fastest that agrees, by the size of a batch; what fails is named and left out."""

import time
from collections.abc import Mapping
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import torch

from models.kinds import DEFAULT, KINDS
from models.runtimes import probe as probing
from models.runtimes.candidates import Candidate, Source
from models.runtimes.policy import Policy
from models.runtimes.probe import SIZES, Probed, probe
from models.runtimes.runtime import Runtime
from models.scoring.predict import Predictions, refuse_broken
from tests.models.saved_models import CLASSES, SIZE, make_network

KIND = KINDS[DEFAULT]
IMAGES = torch.randint(
    0, 256, (80, 3, SIZE, SIZE), dtype=torch.uint8, generator=torch.Generator().manual_seed(1)
)


class Fake:
    """Takes so much processor time and answers by the first pixel of an image."""

    clock = 0.0
    real = False  # whether the wall clock goes on, too

    def __init__(self, name: str, ms: float, *, each: float = 0.0, wrong: float = 0.0) -> None:
        self.name = self.key = name
        self.ms, self.each, self.wrong = ms, each, wrong

    def predict(self, images: torch.Tensor) -> Predictions:
        taken = (self.ms + self.each * len(images)) / 1000
        Fake.clock += taken
        if self.real:
            time.sleep(taken)
        rows = np.full((len(images), 3), 0.25, np.float32)
        rows[np.arange(len(images)), images[:, 0, 0, 0].numpy() % 3] = 0.5 + self.wrong
        refuse_broken(self.name, Predictions(rows, rows), 0)
        return Predictions(rows, rows)


def run(
    runtimes: Mapping[str, Runtime | Exception], policy: Policy = Policy.AUTO, real: bool = True
) -> Probed:
    def loads(one: Runtime | Exception, _: Source) -> Runtime:
        if isinstance(one, Exception):
            raise one
        return one

    candidates = {
        name: Candidate(name.partition(" ")[0], partial(loads, one), bf16=name.endswith("bf16"))
        for name, one in runtimes.items()
    }
    source = Source(make_network(), "hone:1", 1, Path)
    return probe(
        source,
        IMAGES,
        KIND,
        CLASSES,
        policy=policy,
        real=real,
        candidates=candidates,
        clock=lambda: Fake.clock,
    )


@pytest.fixture(autouse=True)
def short(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(probing, "ORDER", (1, 16))
    monkeypatch.setattr(probing, "ROUNDS", 3)
    monkeypatch.setattr("models.runtimes.candidates.computes_bf16", lambda: True)


def test_each_size_of_batch_has_the_fastest_that_agrees() -> None:
    chosen = run(
        {
            "torch": Fake("torch", 4),
            "early": Fake("early", 0.1, each=0.2),
            "late": Fake("late", 1, each=0.01),
        }
    )
    assert [chosen.sizes[size].runtime for size in SIZES] == ["early"] * 4 + ["late"] * 3
    assert chosen.sizes[1].speed_up > 5
    assert set(chosen.agreement) == {"early", "late"}
    assert chosen.agreement["late"].images == 80


def test_a_faster_runtime_with_other_answers_is_not_chosen_and_is_named() -> None:
    chosen = run({
        "torch": Fake("torch", 4), "wrong": Fake("wrong", 0.1, wrong=0.1), "good": Fake("good", 1),
    })  # fmt: skip
    assert {one.runtime for one in chosen.sizes.values()} == {"good"}
    assert "probabilities: 0.1 apart" in chosen.dropped["wrong"]
    assert set(chosen.agreement) == {"good"}


def test_a_runtime_that_fails_at_load_or_gives_no_number_is_dropped_and_named() -> None:
    chosen = run({
        "torch": Fake("torch", 1),
        "away": ImportError("libgomp is missing\nmore"),
        "nan": Fake("nan", 0.1, wrong=float("nan")),
    })  # fmt: skip
    assert {one.runtime for one in chosen.sizes.values()} == {"torch"}
    assert chosen.dropped["away"] == "ImportError: libgomp is missing"
    assert "nan gave outputs that are not finite" in chosen.dropped["nan"]


def test_a_full_disk_leaves_the_runtimes_that_need_no_file() -> None:
    full = OSError(28, "No space left on device")
    chosen = run({"torch": Fake("torch", 4), "engine": full, "layout": Fake("layout", 1)})
    assert {one.runtime for one in chosen.sizes.values()} == {"layout"}
    assert "No space left on device" in chosen.dropped["engine"]


def test_little_faster_is_no_reason_to_leave_torch_unless_it_is_named() -> None:
    runtimes = {"torch": Fake("torch", 2), "engine": Fake("engine", 1.95)}
    assert run(runtimes).sizes[1].runtime == "torch"
    assert run(runtimes, Policy.TORCH).dropped == {}
    slow = {"torch": Fake("torch", 0.5), "openvino": Fake("openvino", 1.0)}
    assert run(slow, Policy.OPENVINO).sizes[1].runtime == "openvino"


def test_a_policy_leaves_other_families_out() -> None:
    runtimes = {"torch": Fake("torch", 2), "openvino": Fake("openvino", 0.1),
                "onnxruntime": Fake("onnxruntime", 0.5)}  # fmt: skip
    assert run(runtimes, Policy.ONNXRUNTIME).sizes[64].runtime == "onnxruntime"


def test_without_pictures_only_fp32_is_a_candidate() -> None:
    runtimes = {"torch": Fake("torch", 2), "engine bf16": Fake("engine bf16", 0.1)}
    chosen = run(runtimes, real=False)
    assert chosen.sizes[1].runtime == "torch"
    assert chosen.dropped == {"engine bf16": "too few real images to compare answers on"}
    assert run(runtimes).sizes[1].runtime == "engine bf16"


def test_a_probe_ends_in_its_time(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(probing, "ORDER", (1, 64))
    monkeypatch.setattr(probing, "TIMING_SECONDS", 0.5)
    monkeypatch.setattr(probing, "AGREEMENT_SECONDS", 0.2)
    monkeypatch.setattr(probing, "LEAST_IMAGES", 8)
    monkeypatch.setattr(probing, "SIZES", (1, 2, 4, 8, 16, 32, 64))
    monkeypatch.setattr(Fake, "real", True)
    slow = {"torch": Fake("torch", 10, each=10), "engine": Fake("engine", 5, each=5)}
    chosen = run(slow)
    assert chosen.seconds < 4
    assert chosen.sizes[64].runtime == "engine"  # by the size that there was time for
    assert chosen.agreement["engine"].images < 80


def test_what_is_not_installed_is_named_with_the_remedy(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("models.runtimes.candidates.find_spec", lambda name: None)
    network = make_network()
    source = Source(network, "hone:1", 1, Path)
    for policy in (Policy.AUTO, Policy.OPENVINO):
        chosen = probe(source, IMAGES, KIND, CLASSES, policy=policy, real=False)
        assert "pip install 'hone[fast]'" in chosen.dropped["openvino"]
        assert {one.runtime for one in chosen.sizes.values()} <= {"torch", "torch channels_last"}
