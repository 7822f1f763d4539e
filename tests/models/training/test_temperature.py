"""The temperature lowers the loss on rows that it was not fitted on, and changes no answer."""

import numpy as np
import pandas as pd
import pytest
import torch

from models.kinds import DEFAULT, KINDS
from models.network.network import NetworkConfig
from models.scoring.predict import predict_table
from models.training.config import TrainConfig
from models.training.temperature import BOUNDS, fit_temperature
from models.training.train import train
from tests.models.pictures import CLASSES, SIZE, snapshot

KIND = KINDS[DEFAULT]


def drawn(rows: int, *, factor: float, seed: int = 0) -> tuple[torch.Tensor, torch.Tensor]:
    """Logits that are `factor` times as large as the truth, and classes drawn from the truth."""
    generator = torch.Generator().manual_seed(seed)
    logits = 2 * torch.randn(rows, 5, generator=generator)
    classes = torch.multinomial(logits.softmax(1), 1, generator=generator)[:, 0]
    return factor * logits, classes


def loss(raw: torch.Tensor, targets: torch.Tensor, temperature: float = 1.0) -> float:
    return KIND.loss(KIND.scaled(raw, temperature), targets).mean().item()


@pytest.mark.parametrize("factor", [0.5, 1.0, 3.0])
def test_a_factor_in_the_logits_is_recognised_and_mended(factor: float) -> None:
    temperature = fit_temperature(*drawn(800, factor=factor), KIND)
    assert temperature == pytest.approx(factor, rel=0.15)
    raw, targets = drawn(4000, factor=factor, seed=1)
    assert loss(raw, targets, temperature) <= loss(raw, targets) + 1e-3
    assert loss(raw, targets, temperature) == pytest.approx(
        loss(*drawn(4000, factor=1.0, seed=1)), abs=0.01
    )
    assert torch.equal(KIND.scaled(raw, temperature).argmax(1), raw.argmax(1))


@pytest.mark.parametrize("rows", [1, 5, 20, 100])
def test_few_rows_seldom_make_the_loss_on_other_rows_higher(rows: int) -> None:
    others = drawn(4000, factor=1.0, seed=999)
    more = [
        loss(*others, fit_temperature(*drawn(rows, factor=1.0, seed=seed), KIND)) - loss(*others)
        for seed in range(30)
    ]
    assert np.mean(more) < 0.03


def test_rows_that_are_all_right_or_all_wrong_stay_within_bounds() -> None:
    raw = 20 * torch.eye(5).repeat(20, 1)
    right, wrong = (torch.arange(5).repeat(20) + shift for shift in (0, 1))
    low, high = fit_temperature(raw, right, KIND), fit_temperature(raw, wrong % 5, KIND)
    assert BOUNDS[0] <= low <= 1 < high <= BOUNDS[1]


def test_without_rows_nothing_changes() -> None:
    assert fit_temperature(torch.empty(0), torch.empty(0, dtype=torch.int64), KIND) == 1.0


def test_a_trained_network_is_calibrated_on_rows_that_it_never_met(tmp_path) -> None:
    """Some labels are random: a network that learnt its rows by heart is too certain."""
    table = snapshot(tmp_path, train=30, val=240)
    rng = np.random.default_rng(0)
    table["label"] = np.where(rng.random(270) < 0.3, rng.choice(CLASSES, 270), table["label"])
    held_out = table.iloc[150:].reset_index(drop=True)
    config = TrainConfig(epochs=2, min_steps=40, batch_size=16, lr=5e-3, precision="fp32",
                         label_smoothing=0.0, augment=False)  # fmt: skip
    network = NetworkConfig("shufflenet_v2_x0_5")
    trained = train(table.iloc[:150], tmp_path, CLASSES, SIZE, config, network=network)
    temperature = float(trained.network.temperature)
    assert temperature != 1
    assert trained.history[trained.best_epoch - 1]["temperature"] == pytest.approx(temperature)
    after = predict_table(trained.network, held_out, tmp_path, SIZE).outputs
    trained.network.temperature.fill_(1)
    before = predict_table(trained.network, held_out, tmp_path, SIZE).outputs
    assert _loss_of(after, held_out) < _loss_of(before, held_out)
    assert (after.argmax(1) == before.argmax(1)).all()


def _loss_of(outputs: np.ndarray, rows: pd.DataFrame) -> float:
    numbers = [CLASSES.index(label) for label in rows["label"]]
    return float(-np.log(outputs[np.arange(len(rows)), numbers]).mean())
