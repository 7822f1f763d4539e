"""Short trainings of a small network, from scratch and from weights that were trained."""

import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pandas as pd
import torch
from torch import nn

from models.network.network import NetworkConfig
from models.training.config import TrainConfig
from models.training.train import Trained, train
from tests.models.pictures import CLASSES, SIZE

SHUFFLE = NetworkConfig("shufflenet_v2_x0_5")  # the cheapest with BatchNorm
SHORT = TrainConfig(epochs=2, min_steps=4, batch_size=8, lr=5e-3, precision="fp32")


def run(
    table: pd.DataFrame,
    shards: Path,
    config: TrainConfig = SHORT,
    network: NetworkConfig = SHUFFLE,
    **given: Any,
) -> Trained:
    return train(table, shards, CLASSES, SIZE, config, network=network, **given)


def same(one: nn.Module, other: nn.Module) -> bool:
    there = other.state_dict()
    return all(torch.equal(part, there[name]) for name, part in one.state_dict().items())


def trained_weights(
    folder: Path, table: pd.DataFrame
) -> tuple[NetworkConfig, dict[str, torch.Tensor]]:
    """A network to fine-tune, its weights in a file, and those weights."""
    state = run(table, folder).network.state_dict()
    torch.save(state, folder / "weights.pt")
    return replace(SHUFFLE, weights=str(folder / "weights.pt")), state


def guessed(table: pd.DataFrame, rows: Sequence[int], **probs: float) -> pd.DataFrame:
    """The table with pseudo-labels in place of the labels of some rows."""
    changed = table.assign(probs=None)
    chosen = changed.index.isin(list(rows))
    values = {"split": "soft", "trust": 0.9, "probs": json.dumps(probs)}
    for name, value in values.items():
        changed[name] = changed[name].where(~chosen, value)
    return changed
