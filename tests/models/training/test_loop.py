"""The loop keeps the best epoch, stops early, averages weights, and stops at nonsense."""

from dataclasses import replace

import pytest
import torch
from torch.optim.swa_utils import AveragedModel

from models.training import loop as module
from models.training import train as training
from models.training.loop import NonFiniteLoss
from models.training.recipe import Recipe
from tests.models.pictures import snapshot
from tests.models.training.small_runs import SHORT, run, same


def test_the_best_epoch_on_enough_val_rows_is_kept_and_the_rest_stops_early(tmp_path, monkeypatch):
    table = snapshot(tmp_path, train=12, val=60)
    losses = iter([3.0, 1.0, 2.0, 2.0])
    states = []

    def score(part, rows, precision):
        states.append({name: value.clone() for name, value in part.state_dict().items()})
        return {"val_loss": next(losses), "val_accuracy": 0.5}

    monkeypatch.setattr(module, "score", score)
    trained = run(table, tmp_path, replace(SHORT, epochs=9, min_steps=0, patience=2))
    assert trained.best_epoch == 2 and len(trained.history) == 4
    kept = trained.network.named_parameters()
    assert all(torch.equal(weight, states[1][name]) for name, weight in kept)


def test_few_val_rows_are_reported_but_choose_nothing(tmp_path, monkeypatch):
    table = snapshot(tmp_path, train=12, val=6)
    losses = iter([0.0, 9.0])
    monkeypatch.setattr(module, "score", lambda *given: {"val_loss": next(losses)})
    trained = run(table, tmp_path, replace(SHORT, lr=1e-3))
    lowest = min(trained.history, key=lambda row: row["train_loss"])
    assert trained.best_epoch == lowest["epoch"]


def test_the_average_of_the_weights_is_what_is_scored_and_kept(tmp_path, monkeypatch):
    table = snapshot(tmp_path, train=12, val=60)
    config = replace(SHORT, epochs=1, min_steps=40, warmup=0.0)
    plain = run(table, tmp_path, config)
    seen = []

    def recipe(*given):
        return Recipe(averaged=True)

    class Recorded(AveragedModel):
        """The plain mean over all steps."""

        def update_parameters(self, model):
            seen.append([weight.detach().clone() for weight in model.parameters()])
            super().update_parameters(model)

    monkeypatch.setattr(training, "choose_recipe", recipe)
    monkeypatch.setattr(module, "_average", lambda part, steps: Recorded(part))
    averaged = run(table, tmp_path, config)
    assert len(seen) == 40 and not same(averaged.network, plain.network)
    for weight, steps in zip(averaged.network.parameters(), zip(*seen, strict=True), strict=True):
        assert torch.allclose(weight, torch.stack(steps).mean(0), atol=1e-5)


def test_a_loss_that_is_no_number_stops_with_the_numbers(tmp_path):
    table = snapshot(tmp_path, train=12)
    with pytest.raises(NonFiniteLoss, match=r"epoch \d+, step \d+, rate .*last losses.*smaller lr"):
        run(table, tmp_path, replace(SHORT, lr=1e30, epochs=8, min_steps=40, warmup=0.0))
