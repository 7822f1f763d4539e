"""Consistency learns from confident answers to unlabelled images, and stays only where it helps."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import nn

from models.kinds import DEFAULT, KINDS
from models.network.images import open_images
from models.network.precision import Precision
from models.training import consistency as module
from models.training.consistency import consistency_term, strong_view, try_consistency
from models.training.loop import Progress
from models.training.recipe import Recipe
from models.training.rows import rows_of
from tests.models.pictures import CLASSES, SIZE, snapshot
from tests.models.training.small_runs import SHORT, guessed, run, same, trained_weights

KIND = KINDS[DEFAULT]
TUNED = replace(SHORT, fine_tune="full", consistency="auto")


class Sure(nn.Module):
    """Answers the first class for everything, with logits of this height."""

    def __init__(self, height: float) -> None:
        super().__init__()
        self.logits = nn.Parameter(torch.tensor([height, 0.0, 0.0]))
        self.batches: list[torch.Tensor] = []

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        self.batches.append(images)
        return self.logits.expand(len(images), 3)


def soft_table(folder, *, labelled=12, soft=12, val=0):
    table = snapshot(folder, train=labelled + soft, val=val)
    return guessed(table, range(labelled, labelled + soft), flat=0.4, tall=0.3, wide=0.3)


@pytest.mark.parametrize(("height", "learns"), [(8.0, True), (1.0, False)])
def test_only_confident_answers_are_learnt_from(tmp_path, height, learns):
    table = soft_table(tmp_path)
    learn = rows_of(table, open_images(table, tmp_path, SIZE), CLASSES, SHORT, KIND)
    part = Sure(height)
    loss = consistency_term(learn, SHORT, Precision())(part)
    assert (loss.item() > 0) is learns
    loss.backward()
    grad = part.logits.grad
    assert grad is not None and bool(grad.abs().sum() > 0) is learns
    mild, strong = part.batches
    assert len(mild) == len(strong) == 8 and not torch.equal(mild, strong)


def test_a_strong_view_hides_a_square_and_is_seeded():
    images = torch.randint(0, 255, (4, 3, 20, 20), generator=torch.Generator().manual_seed(0))
    one, again, other = (
        strong_view(images, np.random.default_rng(seed), flip=False) for seed in (0, 0, 1)
    )
    assert torch.equal(one, again) and not torch.equal(one, other)
    for view in one:
        repeated = (view[:, 1:, 1:] == view[:, :-1, :-1]).all(0)
        assert repeated.sum() >= 7 * 7  # inside the square, each pixel is like its neighbour


@pytest.mark.parametrize(("gain", "used"), [(-0.5, True), (0.5, False)])
def test_it_stays_only_where_the_validation_rows_gain(tmp_path, monkeypatch, gain, used):
    table = soft_table(tmp_path, val=60)
    network, _ = trained_weights(tmp_path, table[:12])
    plain = run(table, tmp_path, replace(TUNED, consistency="off"), network=network)
    best = min(row["val_loss"] for row in plain.history)
    fit = module.fit

    def fitted(*given, **options):
        """The same training, its validation losses as if it had gained so much."""
        progress = given[-1]
        add = progress.add
        monkeypatch.setattr(progress, "add", lambda row, loss, *rest: add(
            {**row, "val_loss": best + gain}, best + gain, *rest))  # fmt: skip
        fit(*given, **options)

    monkeypatch.setattr(module, "fit", fitted)
    trained = run(table, tmp_path, TUNED, network=network)
    words = trained.recipe["consistency"]
    assert words.startswith("used" if used else "left out")
    assert f"{best + gain:.3f} with it, {best:.3f} without" in words
    assert same(trained.network, plain.network) is not used
    assert len(trained.history) == len(plain.history) + 1


def test_its_loss_is_not_taken_from_the_training_before(tmp_path, monkeypatch):
    """The last epochs before it were worse than the best one, and better than it."""
    held = rows_of(table := soft_table(tmp_path, val=60), open_images(table, tmp_path, SIZE),
                   CLASSES, SHORT, KIND)  # fmt: skip
    part, progress = Sure(1.0), Progress(None)
    for loss in (0.5, 0.51):
        progress.add({"val_loss": loss}, loss, part, 0.0)
    monkeypatch.setattr(module, "fit", lambda *given, **_: given[-1].add(
        {"val_loss": 0.8}, 0.8, part, 0.0))  # fmt: skip
    words = try_consistency(part, held, held, SHORT, Recipe(), Precision(), progress)
    assert words == "left out: validation loss 0.800 with it, 0.500 without"


def test_without_enough_validation_rows_it_is_not_tried(tmp_path):
    table = soft_table(tmp_path, val=6)
    network, _ = trained_weights(tmp_path, table[:12])
    trained = run(table, tmp_path, TUNED, network=network)
    assert trained.recipe["consistency"] == "not tried: 6 validation rows are fewer than 50"
    plain = run(table, tmp_path, replace(TUNED, consistency="off"), network=network)
    assert same(trained.network, plain.network)
