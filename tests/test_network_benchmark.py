"""The benchmark of tuned networks: orders of labels, label ratios, and one run at a tiny size."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from benchmarks import label_network
from benchmarks.label_network import Game, label_ratio, needed, order, table
from tests.models.pictures import snapshot
from tests.models.training.small_runs import trained_weights


def game(classes: np.ndarray | None = None) -> Game:
    rng = np.random.default_rng(0)
    classes = rng.integers(3, size=400) if classes is None else classes
    groups = 3 * rng.integers(3, size=len(classes)) + classes  # neighbours teach more than axes
    features = (np.eye(9)[groups] + rng.normal(0, 0.15, (len(classes), 9))).astype(np.float32)
    return Game(features, classes, np.arange(len(classes)), np.arange(0))


@pytest.mark.parametrize("choice", ["random", "auto"])
def test_each_row_is_labelled_once_and_the_same_each_time(choice: str) -> None:
    rows = order(game(), choice, 0, 100)
    assert len(set(rows.tolist())) == 100
    assert np.array_equal(rows, order(game(), choice, 0, 100))


def test_the_labels_needed_lie_between_steps_or_beyond_the_last() -> None:
    steps, curve = [100, 400], np.array([0.5, 0.7])
    assert needed(steps, curve, 0.6) == pytest.approx(200)
    assert needed(steps, curve, 0.7) == pytest.approx(400)
    assert needed(steps, curve, 0.71) == float("inf")


def test_a_ratio_has_an_interval_over_seeds_or_a_bound() -> None:
    plain = {100: {0: 0.5, 1: 0.5}, 400: {0: 0.7, 1: 0.7}}
    assert label_ratio(plain, {0: 0.6, 1: 0.6}, 100) == "2.00 [2.00, 2.00]"
    assert label_ratio(plain, {0: 0.8, 1: 0.8}, 100) == "> 4.0"
    assert label_ratio(plain, {5: 0.6}, 100) == ""  # no seed in common


def test_every_pair_is_trained_once_and_a_second_call_trains_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    rng = np.random.default_rng(0)
    for number, name in enumerate("abc"):
        (tmp_path / "set" / name).mkdir(parents=True)
        for image in range(80):
            noise = rng.normal(60 * number + 40, 40, (8, 8, 3)).clip(0, 255)
            file = tmp_path / "set" / name / f"{image:02}.png"
            Image.fromarray(noise.astype(np.uint8)).save(file)
    judged = np.arange(0, 240, 3)
    pool = np.setdiff1d(np.arange(240), judged)
    small = replace(game(pool // 80), images=pool, judged=judged)
    monkeypatch.setattr(label_network, "_game", lambda *given: small)
    network, _ = trained_weights(tmp_path, snapshot(tmp_path, train=12))
    out = tmp_path / "out.jsonl"
    asked = [str(tmp_path / "set"), "--out", str(out), "--size", "8", "--seeds", "1", "--labels",
             "30", "--epochs", "1", "--min-steps", "2", "--backbone", network.backbone,
             "--weights", str(network.weights)]  # fmt: skip
    monkeypatch.setattr("sys.argv", ["label_network", *asked])
    label_network.main()
    lines = [json.loads(line) for line in out.read_text().splitlines()]
    pairs = {(line["choice"], line["training"]) for line in lines}
    assert len(lines) == len(pairs) == 6
    assert {line["recipe"]["fine_tune"] for line in lines if line["training"] == "recipe"} == {
        "frozen"
    }
    assert all((line["pool"] > 0) == (line["training"] == "pool") for line in lines)
    assert "| random + plain | 30 |" in table(lines)
    label_network.main()
    assert len(out.read_text().splitlines()) == 6
