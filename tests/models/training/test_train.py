"""A training learns, repeats itself to the bit, keeps its best epoch, and stops at nonsense."""

import json
import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch

from models.kinds import DEFAULT, KINDS
from models.network.images import open_images
from models.network.network import NetworkConfig
from models.scoring.predict import predict_table
from models.training import train as module
from models.training.train import NonFiniteLoss, TrainConfig, Trained, rate_share, train
from tests.models.pictures import CLASSES, SIZE, snapshot

KIND = KINDS[DEFAULT]
DEVICES = ["cpu", "cuda"] if torch.cuda.is_available() else ["cpu"]
SHUFFLE = NetworkConfig("shufflenet_v2_x0_5")  # the cheapest with BatchNorm
SHORT = TrainConfig(epochs=2, min_steps=4, batch_size=8, lr=5e-3, precision="fp32")


def run(table, shards, config=SHORT, network=SHUFFLE, **given) -> Trained:
    return train(table, shards, CLASSES, SIZE, config, network=network, **given)


def same(one, other) -> bool:
    there = other.state_dict()
    return all(torch.equal(part, there[name]) for name, part in one.state_dict().items())


@pytest.mark.parametrize("device", DEVICES)
def test_a_training_learns_and_reports_every_epoch(tmp_path, device):
    table = snapshot(tmp_path, train=60, val=60)
    config = replace(SHORT, epochs=6, min_steps=48, batch_size=16)
    seen: list[dict[str, Any]] = []
    trained = run(table, tmp_path, config, on_epoch=seen.append, device=device)
    assert all(row.pop("images_per_second") > 0 for row in seen)
    best = min(seen, key=lambda row: row["val_loss"])["epoch"]
    assert trained.best_epoch == best and trained.precision == f"fp32 on {device}"
    assert [*trained.history[: best - 1], *trained.history[best:]] == [
        row for row in seen if row["epoch"] != best
    ]
    assert [row["epoch"] for row in seen] == [1, 2, 3, 4, 5, 6]
    assert seen[-1]["step"] == 48
    held = table[table["split"] == "val"]
    probs = predict_table(trained.network, held, tmp_path, SIZE).outputs
    right = np.asarray(CLASSES)[probs.argmax(1)] == held["label"].to_numpy()
    assert right.mean() > 0.9
    assert trained.history[best - 1]["val_accuracy"] == pytest.approx(right.mean())
    assert trained.absent_classes == []


def test_the_same_seed_gives_the_same_network_and_another_seed_another(tmp_path):
    table = snapshot(tmp_path, train=12)
    once, again, other = (run(table, tmp_path, replace(SHORT, seed=s)) for s in (3, 3, 4))
    assert same(once.network, again.network) and once.history == again.history
    assert not same(once.network, other.network)


def test_a_training_leaves_the_callers_random_state_alone(tmp_path):
    torch.manual_seed(5)
    before = torch.get_rng_state()
    run(snapshot(tmp_path, train=6), tmp_path)
    assert torch.equal(torch.get_rng_state(), before)


def test_the_best_epoch_on_enough_val_rows_is_kept_and_the_rest_stops_early(tmp_path, monkeypatch):
    table = snapshot(tmp_path, train=12, val=60)
    losses = iter([3.0, 1.0, 2.0, 2.0, 2.0])
    states = []

    def score(part, rows, precision):
        states.append({name: value.clone() for name, value in part.state_dict().items()})
        return {"val_loss": next(losses), "val_accuracy": 0.5}

    monkeypatch.setattr(module, "_score", score)
    trained = run(table, tmp_path, replace(SHORT, epochs=9, min_steps=0, patience=2))
    assert trained.best_epoch == 2 and len(trained.history) == 4
    kept = trained.network.named_parameters()
    assert all(torch.equal(weight, states[1][name]) for name, weight in kept)


def test_few_val_rows_are_reported_but_choose_nothing(tmp_path, monkeypatch):
    table = snapshot(tmp_path, train=12, val=6)
    losses = iter([0.0, 9.0, 9.0])
    monkeypatch.setattr(module, "_score", lambda *given: {"val_loss": next(losses)})
    trained = run(table, tmp_path, replace(SHORT, lr=1e-3))
    lowest = min(trained.history, key=lambda row: row["train_loss"])
    assert trained.best_epoch == lowest["epoch"]


def test_batchnorm_ends_with_the_statistics_of_images_as_they_are(tmp_path):
    table = snapshot(tmp_path, train=20)
    network = run(table, tmp_path, replace(SHORT, batch_size=20)).network
    norm = next(part for part in network.modules() if isinstance(part, torch.nn.BatchNorm2d))
    seen = []
    norm.register_forward_pre_hook(lambda _, given: seen.append(given[0]))
    predict_table(network, table, tmp_path, SIZE)
    assert norm.running_mean is not None
    assert torch.allclose(norm.running_mean, seen[0].mean((0, 2, 3)), atol=1e-4)
    assert norm.momentum == 0.1


@pytest.mark.parametrize("rows", [1, 2, 9])
def test_sets_of_any_size_train_with_batchnorm(tmp_path, rows):
    trained = run(snapshot(tmp_path, train=rows), tmp_path)
    assert all(math.isfinite(row["train_loss"]) for row in trained.history)
    assert trained.absent_classes == CLASSES[rows:]


def test_the_last_batch_is_as_large_as_the_others_and_no_row_comes_early():
    batches = module._batches(7, 3, np.random.default_rng(0))
    drawn = np.concatenate([next(batches) for _ in range(7)])
    assert [sorted(drawn[start : start + 7]) for start in (0, 7, 14)] == [list(range(7))] * 3


def test_the_learning_rate_rises_in_a_line_and_falls_to_nothing():
    rates = [rate_share(step, 100, 0.1) for step in range(100)]
    assert rates[0] == pytest.approx(0.1) and rates[9] == 1
    assert rates[10] == 1 and sorted(rates[10:], reverse=True) == rates[10:]
    assert rates[-1] < 0.001
    assert rate_share(0, 1, 0.0) == 1


def test_a_loss_that_is_no_number_stops_with_the_numbers(tmp_path):
    table = snapshot(tmp_path, train=12)
    with pytest.raises(NonFiniteLoss, match=r"epoch \d+, step \d+, rate .*last losses.*smaller lr"):
        run(table, tmp_path, replace(SHORT, lr=1e30, epochs=8, min_steps=40, warmup=0.0))


def trained_weights(folder: Path, table: pd.DataFrame) -> tuple[NetworkConfig, dict]:
    """A network to fine-tune, its weights in a file, and those weights."""
    state = run(table, folder).network.state_dict()
    torch.save(state, folder / "weights.pt")
    return replace(SHUFFLE, weights=str(folder / "weights.pt")), state


def test_a_frozen_backbone_stays_as_it_was_and_its_head_learns(tmp_path):
    table = snapshot(tmp_path, train=24)
    network, start = trained_weights(tmp_path, table)
    for augment in (False, True):
        config = replace(SHORT, fine_tune="frozen", augment=augment)
        found = run(table, tmp_path, config, network=network).network.state_dict()
        changed = {name for name, part in found.items() if not torch.equal(part, start[name])}
        assert changed == {"head.weight", "head.bias"}


def test_a_network_that_was_frozen_can_be_trained_again(tmp_path):
    table = snapshot(tmp_path, train=6)
    network, _ = trained_weights(tmp_path, table)
    frozen = run(table, tmp_path, replace(SHORT, fine_tune="frozen"), network=network).network
    assert all(weight.requires_grad for weight in frozen.parameters())


def test_a_frozen_random_backbone_is_refused(tmp_path):
    with pytest.raises(ValueError, match="backbone would stay random"):
        run(snapshot(tmp_path, train=6), tmp_path, replace(SHORT, fine_tune="frozen"))


def test_without_a_row_to_train_on_it_says_what_there_is(tmp_path):
    with pytest.raises(ValueError, match=r"none of the 3 rows is in split 'train'.*val"):
        run(snapshot(tmp_path, train=0, val=3), tmp_path)


def test_trust_of_a_label_does_not_weigh_it(tmp_path):
    table = snapshot(tmp_path, train=12)
    doubted = table.assign(trust=np.linspace(0, 1, 12))
    assert same(run(table, tmp_path).network, run(doubted, tmp_path).network)


def guessed(table, rows, **probs) -> pd.DataFrame:
    """The table with some of its rows turned into guesses."""
    changed = table.assign(probs=None)
    changed.loc[rows, ["split", "trust", "probs"]] = ["soft", 0.9, json.dumps(probs)]
    return changed


def test_without_guesses_a_training_is_what_it_was_whatever_they_would_weigh(tmp_path):
    table = snapshot(tmp_path, train=12)
    plain = run(table, tmp_path)
    for weight in (0.0, 0.5, 0.9):
        again = run(table.assign(probs=None), tmp_path, replace(SHORT, soft_weight=weight))
        assert same(again.network, plain.network) and again.history == plain.history


def test_guesses_are_trained_on_and_of_weight_0_are_left_out(tmp_path):
    table = snapshot(tmp_path, train=24)
    labelled = table[table.index < 12]
    soft = guessed(table, slice(12, 23), flat=0.8, tall=0.1, wide=0.1)
    plain = run(labelled, tmp_path).network
    assert not same(run(soft, tmp_path).network, plain)
    assert same(run(soft, tmp_path, replace(SHORT, soft_weight=0.0)).network, plain)


def test_a_guess_pulls_by_its_weight_and_its_trust_towards_all_it_says(tmp_path):
    table = guessed(snapshot(tmp_path, train=4), [2, 3], tall=0.6, wide=0.2, gone=0.2)
    images = open_images(table, tmp_path, SIZE)
    rows = module._rows(table, images, CLASSES, replace(SHORT, soft_weight=0.5), KIND)
    assert rows.weights.tolist() == pytest.approx([1, 1, 0.45, 0.45])
    assert rows.targets[0].tolist() == [1, 0, 0]
    assert rows.targets[3].tolist() == pytest.approx([0, 0.75, 0.25])
    wise = module._rows(table[:2], images, CLASSES, SHORT, KIND)
    assert wise.targets.dtype == torch.int64


def test_a_class_that_is_only_guessed_counts_as_absent(tmp_path):
    table = guessed(snapshot(tmp_path, train=6), [2, 5], wide=1.0)
    assert run(table, tmp_path).absent_classes == ["wide"]


@pytest.mark.parametrize("probs", [{"gone": 1.0}, {"flat": math.nan}, {"flat": -1.0, "tall": 2.0}])
def test_a_guess_that_says_nothing_of_our_classes_is_refused(tmp_path, probs):
    table = guessed(snapshot(tmp_path, train=6), [2], **probs)
    with pytest.raises(ValueError, match="has no probability of the classes flat, tall, wide"):
        run(table, tmp_path)


@pytest.mark.parametrize(
    "given",
    [
        {"soft_weight": 1.0}, {"soft_weight": -0.1},
        {"epochs": 0}, {"epochs": 2.5}, {"batch_size": 1}, {"min_steps": -1}, {"lr": 0},
        {"lr": math.nan}, {"lr": math.inf}, {"warmup": 1}, {"label_smoothing": -0.1},
        {"weight_decay": -1}, {"fine_tune": "half"}, {"precision": "fp8"}, {"patience": 0},
        {"seed": -1},
    ],
)  # fmt: skip
def test_a_bad_value_is_refused_with_its_name(given):
    (name,) = given
    with pytest.raises(ValueError, match=rf"{name} is .*; choose"):
        TrainConfig(**given)
