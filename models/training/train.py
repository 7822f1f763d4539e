"""A snapshot's rows -> the network of the best epoch, by the recipe for these rows."""

import math
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from torch import nn

from models.kinds import DEFAULT, KINDS, Kind
from models.network.images import open_images
from models.network.network import Network, NetworkConfig, build
from models.network.precision import Precision, choose_precision, threads_set
from models.training.config import FROZEN, FULL, LAST, TrainConfig
from models.training.consistency import try_consistency
from models.training.head import solve_head
from models.training.loop import MIN_VAL_ROWS, Progress, fit, pace_of
from models.training.norms import recompute_norms
from models.training.optimizer import freeze, optimizer_of
from models.training.recipe import Recipe, choose_recipe
from models.training.rows import (
    SOFT,
    Rows,
    batch_loss,
    batches_of,
    embedded_rows,
    raw_outputs,
    rows_of,
    score,
)
from models.training.temperature import fit_temperature
from models.training.trainable import missing_rows


@dataclass(frozen=True)
class Trained:
    """The network of the best epoch, with the history of its training."""

    network: Network
    history: list[dict[str, float]]  # a row an epoch; the best one describes this network
    best_epoch: int  # from 1
    precision: str  # as it was run, such as "bf16 on cpu"
    absent_classes: list[str]  # without a training row
    recipe: dict[str, Any]  # what was done and why, in JSON's types


def train(
    table: pd.DataFrame,
    shards: Path,
    classes: Sequence[str],
    image_size: int,
    config: TrainConfig,
    *,
    network: NetworkConfig,
    kind: Kind = KINDS[DEFAULT],
    on_epoch: Callable[[dict[str, float]], None] | None = None,
    threads: int = 1,
    device: str | None = None,
    recipe: Recipe | None = None,
) -> Trained:
    """A network trained on the "train" rows of `table`, its best epoch chosen on the "val" rows.

    "soft" rows are trained on as well, with less weight. Seeded: the same rows, threads and
    processor give the same result (on a CPU in "fp32"). With fewer than MIN_VAL_ROWS "val" rows the
    training loss chooses the epoch. The recipe is `choose_recipe`'s unless one is given.
    """
    _check(table, config, network)
    recipe = recipe or choose_recipe(table, config, network)
    with threads_set(threads), torch.random.fork_rng():
        torch.manual_seed(config.seed)
        made = build(network, classes=len(classes), image_size=image_size, kind=kind)
        freeze(made, recipe)
        trained_on = ["train", SOFT] if config.soft_weight else ["train"]
        learn, held = (
            rows_of(
                part,
                open_images(part, shards, image_size, threads=threads),
                classes,
                config,
                kind,
                recipe.class_weights,
            )
            for part in (table[table["split"].isin(splits)] for splits in (trained_on, ["val"]))
        )
        precision = _precision(made, learn, config, recipe, device)
        precision.place(made)
        progress = Progress(on_epoch)
        notes = _trained(made, learn, held, config, recipe, precision, progress)
        temperature = fit_temperature(raw_outputs(made, held, precision), held.targets, kind)
        made.temperature.fill_(temperature)
        progress.history[progress.best_epoch - 1] |= {"temperature": temperature}
    made.requires_grad_(True).eval()
    present = set(table.loc[table["split"] == "train", "label"])
    absent = [name for name in classes if name not in present]
    done = asdict(recipe) | {"why": list(recipe.why)} | notes
    return Trained(made, progress.history, progress.best_epoch, str(precision), absent, done)


def _trained(
    made: Network,
    learn: Rows,
    held: Rows,
    config: TrainConfig,
    recipe: Recipe,
    precision: Precision,
    progress: Progress,
) -> dict[str, Any]:
    """Train the network by the recipe; return what was decided on the way."""
    notes: dict[str, Any] = {}
    if recipe.starts_solved:
        notes |= _solve(made, learn, held, config, recipe, precision, progress)
    if recipe.fine_tune != FROZEN:
        fit(made, learn, held, config, recipe, precision, progress)
    if recipe.consistency:
        notes["consistency"] = try_consistency(
            made, learn, held, config, recipe, precision, progress
        )
    if recipe.fine_tune == FULL and not recipe.keeps_norms:
        recompute_norms(made, learn, precision, np.random.default_rng(config.seed))
        progress.history[progress.best_epoch - 1] |= score(made, held, precision)
    return notes


def _solve(
    made: Network,
    learn: Rows,
    held: Rows,
    config: TrainConfig,
    recipe: Recipe,
    precision: Precision,
    progress: Progress,
) -> dict[str, Any]:
    """Give the network the best head on the embeddings of its backbone, as the first epoch."""
    embedded, embedded_held = (embedded_rows(made, rows, precision) for rows in (learn, held))
    precision.place(made)  # predicting has laid it out anew
    solved = solve_head(embedded, made.head, config.seed)
    numbers = np.arange(len(embedded))
    with torch.no_grad():
        inputs = precision.put(embedded.take(numbers))
        loss = batch_loss(made.head, inputs, embedded, numbers, precision).item()
    row = {"step": 0, "lr": 0.0, "train_loss": loss}
    row |= score(made.head, embedded_held, precision)
    ranked = row["val_loss"] if len(held) >= MIN_VAL_ROWS else math.inf
    progress.add(row, ranked, made, 0.0)
    return {"head_strength": solved.strength, "head_losses": solved.losses}


def _check(table: pd.DataFrame, config: TrainConfig, network: NetworkConfig) -> None:
    if missing := missing_rows(table):
        raise ValueError(missing)
    if config.fine_tune in (LAST, FROZEN) and network.weights is None:
        raise ValueError(
            f"fine_tune is {config.fine_tune!r} with weights None: the backbone would stay random; "
            "choose 'auto' or 'full', or weights 'default' or a file"
        )


def _precision(
    network: Network, rows: Rows, config: TrainConfig, recipe: Recipe, device: str | None
) -> Precision:
    """The precision of the configuration; what is timed is a step of this training."""
    size, steps = pace_of(config, len(rows))
    numbers = next(batches_of(len(rows), size, np.random.default_rng(config.seed)))

    def start(twin: nn.Module, precision: Precision) -> Callable[[torch.Tensor], None]:
        optimizer = optimizer_of(twin.train(), config, recipe)

        def step(batch: torch.Tensor) -> None:
            optimizer.zero_grad()
            batch_loss(twin, batch, rows, numbers, precision).backward()
            optimizer.step()

        return step

    return choose_precision(
        config.precision,
        network,
        rows.take(numbers),
        start=start,
        steps=0 if recipe.fine_tune == FROZEN else steps * config.epochs,
        device=device,
    )
