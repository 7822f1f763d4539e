"""The rows of a training: batches, and what a label and a pseudo-label weigh."""

import math
from dataclasses import replace

import numpy as np
import pytest
import torch

from models.kinds import DEFAULT, KINDS
from models.network.images import open_images
from models.training.rows import batches_of, rows_of
from tests.models.pictures import CLASSES, SIZE, snapshot
from tests.models.training.small_runs import SHORT, guessed, run, same

KIND = KINDS[DEFAULT]


def rows(table, folder, config=SHORT, class_weights=None):
    images = open_images(table, folder, SIZE)
    return rows_of(table, images, CLASSES, config, KIND, class_weights)


def test_the_last_batch_is_as_large_as_the_others_and_no_row_comes_early():
    batches = batches_of(7, 3, np.random.default_rng(0))
    drawn = np.concatenate([next(batches) for _ in range(7)])
    assert [sorted(drawn[start : start + 7]) for start in (0, 7, 14)] == [list(range(7))] * 3


def test_a_guess_pulls_by_its_weight_and_its_trust_towards_all_it_says(tmp_path):
    table = guessed(snapshot(tmp_path, train=4), [2, 3], tall=0.6, wide=0.2, gone=0.2)
    made = rows(table, tmp_path, replace(SHORT, soft_weight=0.5))
    assert made.weights.tolist() == pytest.approx([1, 1, 0.45, 0.45])
    assert made.targets[0].tolist() == [1, 0, 0]
    assert made.targets[3].tolist() == pytest.approx([0, 0.75, 0.25])
    assert made.soft.tolist() == [False, False, True, True]
    assert rows(table[:2], tmp_path).targets.dtype == torch.int64


def test_a_label_weighs_its_trust_and_what_is_left_open_goes_to_the_other_classes(tmp_path):
    table = snapshot(tmp_path, train=5).assign(trust=[1.0, 0.97, 0.8, 0.1, math.nan])
    made = rows(table, tmp_path, replace(SHORT, label_smoothing=0.05))
    assert made.smoothing.tolist() == pytest.approx([0.05, 0.05, 0.2, 0.5, 0.05])
    assert made.weights.tolist() == pytest.approx([1.0, 0.97, 0.8, 0.5, 1.0])
    sure, doubted = table.assign(trust=1.0), table.assign(trust=0.6)
    assert not same(run(sure, tmp_path).network, run(doubted, tmp_path).network)


def test_trust_of_a_guess_is_in_its_weight_and_smooths_nothing(tmp_path):
    table = guessed(snapshot(tmp_path, train=4), [2, 3], tall=1.0).assign(trust=0.6)
    smoothing = rows(table, tmp_path, replace(SHORT, label_smoothing=0.05)).smoothing
    assert smoothing.tolist() == pytest.approx([0.4, 0.4, 0.05, 0.05])


def test_near_duplicates_share_a_group_and_classes_their_weight(tmp_path):
    table = snapshot(tmp_path, train=4).assign(group_id=["a", "b", "a", "c"])
    made = rows(table, tmp_path, class_weights={"flat": 0.5, "wide": 2.0})
    assert made.groups.tolist() == [0, 1, 0, 2]
    assert made.weights.tolist() == [0.5, 1.0, 2.0, 0.5]  # flat, tall, wide, flat
