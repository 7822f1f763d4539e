"""A training learns, repeats itself to the bit, keeps its best epoch, and stops at nonsense."""

import math
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch

from models.scoring.predict import predict_table
from models.training.recipe import Recipe
from tests.models.pictures import CLASSES, SIZE, snapshot
from tests.models.training.small_runs import SHORT, guessed, run, same, trained_weights

DEVICES = ["cpu", "cuda"] if torch.cuda.is_available() else ["cpu"]


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


@pytest.mark.parametrize("rows", [1, 2, 9])
def test_sets_of_any_size_train_with_batchnorm(tmp_path, rows):
    trained = run(snapshot(tmp_path, train=rows), tmp_path)
    assert all(math.isfinite(row["train_loss"]) for row in trained.history)
    assert trained.absent_classes == CLASSES[rows:]


def test_a_frozen_backbone_stays_as_it_was_and_its_head_learns(tmp_path):
    table = snapshot(tmp_path, train=24)
    network, start = trained_weights(tmp_path, table)
    for augment in (False, True):
        config = replace(SHORT, fine_tune="frozen", augment=augment)
        found = run(table, tmp_path, config, network=network).network.state_dict()
        changed = {name for name, part in found.items() if not torch.equal(part, start[name])}
        assert changed == {"head.weight", "head.bias"}


def test_a_recipe_that_is_given_is_followed(tmp_path):
    table = snapshot(tmp_path, train=24)
    network, start = trained_weights(tmp_path, table)
    plain = run(table, tmp_path, network=network, recipe=Recipe(why=("plain",)))
    assert plain.recipe["why"] == ["plain"] and "head_strength" not in plain.recipe
    assert [row["step"] for row in plain.history] == [3, 6]
    changed = plain.network.state_dict()["backbone.conv1.0.weight"]
    assert not torch.equal(changed, start["backbone.conv1.0.weight"])


def test_a_frozen_training_is_one_epoch_without_a_step(tmp_path):
    table = snapshot(tmp_path, train=24, val=60)
    network, _ = trained_weights(tmp_path, table)
    seen: list[dict[str, Any]] = []
    config = replace(SHORT, fine_tune="frozen")
    trained = run(table, tmp_path, config, network=network, on_epoch=seen.append)
    assert [(row["epoch"], row["step"]) for row in seen] == [(1, 0)]
    assert trained.best_epoch == 1 and trained.recipe["fine_tune"] == "frozen"
    held = table[table["split"] == "val"]
    probs = predict_table(trained.network, held, tmp_path, SIZE).outputs
    right = np.asarray(CLASSES)[probs.argmax(1)] == held["label"].to_numpy()
    assert trained.history[0]["val_accuracy"] == pytest.approx(right.mean())


@pytest.mark.parametrize("part", ["last", "full"])
def test_a_pretrained_network_starts_from_its_solved_head(tmp_path, part):
    table = snapshot(tmp_path, train=24, val=60)
    network, start = trained_weights(tmp_path, table)
    frozen = run(table, tmp_path, replace(SHORT, fine_tune="frozen"), network=network)
    tuned = run(table, tmp_path, replace(SHORT, fine_tune=part), network=network)
    first = {name: tuned.history[0][name] for name in ("step", "train_loss", "val_loss")}
    assert first == {name: frozen.history[0][name] for name in first}
    assert [row["step"] for row in tuned.history] == [0, 3, 6]
    after = tuned.network.state_dict()
    changed = {name for name, value in after.items() if not torch.equal(value, start[name])}
    first_layer = "backbone.conv1.0.weight"
    assert (first_layer in changed) is (part == "full" and tuned.best_epoch > 1)


@pytest.mark.parametrize("part", ["frozen", "last", "full"])
def test_a_pretrained_training_repeats_itself_to_the_bit(tmp_path, part):
    table = guessed(snapshot(tmp_path, train=24, val=60), [20, 21, 22], flat=0.7, tall=0.3)
    network, _ = trained_weights(tmp_path, table)
    once, again = (
        run(table, tmp_path, replace(SHORT, fine_tune=part), network=network) for _ in range(2)
    )
    assert same(once.network, again.network) and once.history == again.history
    assert once.recipe == again.recipe and once.recipe["why"][0] == f"fine_tune is '{part}'"


def test_a_network_that_was_frozen_can_be_trained_again(tmp_path):
    table = snapshot(tmp_path, train=6)
    network, _ = trained_weights(tmp_path, table)
    frozen = run(table, tmp_path, replace(SHORT, fine_tune="frozen"), network=network).network
    assert all(weight.requires_grad for weight in frozen.parameters())


@pytest.mark.parametrize("part", ["frozen", "last"])
def test_a_random_backbone_that_is_not_trained_is_refused(tmp_path, part):
    with pytest.raises(ValueError, match=f"{part}.*backbone would stay random"):
        run(snapshot(tmp_path, train=6), tmp_path, replace(SHORT, fine_tune=part))


def test_without_a_row_to_train_on_it_says_what_there_is(tmp_path):
    with pytest.raises(ValueError, match=r"none of the 3 rows is in split 'train'.*val"):
        run(snapshot(tmp_path, train=0, val=3), tmp_path)


def test_without_guesses_a_training_is_what_it_was_whatever_they_would_weigh(tmp_path):
    table = snapshot(tmp_path, train=12)
    plain = run(table, tmp_path)
    for weight in (0.0, 0.5, 0.9):
        again = run(table.assign(probs=None), tmp_path, replace(SHORT, soft_weight=weight))
        assert same(again.network, plain.network) and again.history == plain.history


def test_guesses_are_trained_on_and_of_weight_0_are_left_out(tmp_path):
    table = snapshot(tmp_path, train=24)
    labelled = table[table.index < 12]
    soft = guessed(table, range(12, 24), flat=0.8, tall=0.1, wide=0.1)
    plain = run(labelled, tmp_path).network
    assert not same(run(soft, tmp_path).network, plain)
    assert same(run(soft, tmp_path, replace(SHORT, soft_weight=0.0)).network, plain)


def test_a_class_that_is_only_guessed_counts_as_absent(tmp_path):
    table = guessed(snapshot(tmp_path, train=6), [2, 5], wide=1.0)
    assert run(table, tmp_path).absent_classes == ["wide"]


@pytest.mark.parametrize("probs", [{"gone": 1.0}, {"flat": math.nan}, {"flat": -1.0, "tall": 2.0}])
def test_a_guess_that_says_nothing_of_our_classes_is_refused(tmp_path, probs):
    table = guessed(snapshot(tmp_path, train=6), [2], **probs)
    with pytest.raises(ValueError, match="has no probability of the classes flat, tall, wide"):
        run(table, tmp_path)
