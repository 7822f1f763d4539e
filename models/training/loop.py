"""The training loop: steps on random batches, a score after each epoch, the best epoch kept."""

import copy
import math
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from statistics import fmean

import numpy as np
import torch
from torch import nn
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

from models.network.images import augment
from models.network.precision import Precision
from models.training.config import TrainConfig
from models.training.optimizer import optimizer_of, rate_share, set_rate, train_mode
from models.training.recipe import Recipe
from models.training.rows import Rows, batch_loss, batches_of, score

MIN_VAL_ROWS = 50  # fewer do not rank epochs reliably: choosing by 9 rows cost 7 points
AVERAGED = 0.1  # share of the steps that the moving average of the weights looks back over

Term = Callable[[nn.Module], torch.Tensor]  # added to the loss of a step


class NonFiniteLoss(ValueError):
    """The loss or a weight is no longer finite; the message names the step and the last losses."""


@dataclass
class Progress:
    """The epochs so far, a row for each, and the state of the best one."""

    on_epoch: Callable[[dict[str, float]], None] | None
    history: list[dict[str, float]] = field(default_factory=list)
    best_loss: float = math.inf
    best_epoch: int = 0  # from 1
    best: dict[str, torch.Tensor] = field(default_factory=dict)

    def add(self, row: dict[str, float], loss: float, part: nn.Module, pace: float) -> None:
        """Add an epoch; of equals the later is the best: its learning rate was lower."""
        self.history.append({"epoch": len(self.history) + 1, **row})
        if loss <= self.best_loss:
            self.best_loss, self.best_epoch = loss, len(self.history)
            self.best = copy.deepcopy(part.state_dict())
        if self.on_epoch:
            self.on_epoch({**self.history[-1], "images_per_second": pace})


def fit(
    part: nn.Module,
    learn: Rows,
    held: Rows,
    config: TrainConfig,
    recipe: Recipe,
    precision: Precision,
    progress: Progress,
    *,
    term: Term | None = None,
) -> None:
    """Train `part`, adding a row for each epoch to `progress`, and load the best epoch.

    With fewer than MIN_VAL_ROWS `held` rows the training loss ranks the epochs.
    """
    steps = _Steps(part, learn, config, recipe, precision, term)
    judged = steps.average.module if steps.average else part
    before = len(progress.history)
    for epoch in range(1, config.epochs + 1):
        began = time.perf_counter()
        losses = steps.epoch(epoch)
        pace = len(losses) * steps.size / (time.perf_counter() - began)
        row = {"step": epoch * steps.count, "lr": steps.rate, "train_loss": fmean(losses)}
        row |= score(judged, held, precision)
        ranked = row["val_loss"] if len(held) >= MIN_VAL_ROWS else row["train_loss"]
        if not (math.isfinite(ranked) and _is_finite(judged)):
            raise _broken("a weight", losses, epoch=epoch, step=row["step"], rate=steps.rate)
        progress.add(row, ranked, judged, pace)
        if len(progress.history) - max(progress.best_epoch, before) >= config.patience:
            break
    part.load_state_dict(progress.best)


class _Steps:
    """The optimizer's steps, an epoch at a time."""

    def __init__(
        self,
        part: nn.Module,
        learn: Rows,
        config: TrainConfig,
        recipe: Recipe,
        precision: Precision,
        term: Term | None,
    ) -> None:
        self.part, self.learn, self.config, self.recipe = part, learn, config, recipe
        self.precision, self.term = precision, term
        self.rng = np.random.default_rng(config.seed)
        self.size, self.count = pace_of(config, len(learn))
        self.batches = batches_of(len(learn), self.size, self.rng)
        self.optimizer = optimizer_of(part, config, recipe)
        self.average = _average(part, self.count * config.epochs) if recipe.averaged else None
        self.rate = 0.0

    def epoch(self, number: int) -> list[float]:
        """The losses of an epoch's steps; one that is not finite is an error."""
        losses: list[float] = []
        train_mode(self.part, self.recipe)
        for step in range((number - 1) * self.count, number * self.count):
            share = rate_share(step, self.count * self.config.epochs, self.config.warmup)
            self.rate = self.config.lr * share
            set_rate(self.optimizer, self.rate)
            loss = self._loss(next(self.batches))
            losses.append(loss.item())
            if not math.isfinite(losses[-1]):
                raise _broken("the loss", losses, epoch=number, step=step + 1, rate=self.rate)
            self.optimizer.zero_grad()
            loss.backward()
            self.optimizer.step()
            if self.average:
                self.average.update_parameters(self.part)
        return losses

    def _loss(self, numbers: np.ndarray) -> torch.Tensor:
        inputs = self.precision.put(self.learn.take(numbers))
        if self.config.augment:
            inputs = self.precision.put(augment(inputs, self.rng, flip=self.config.flip))
        loss = batch_loss(self.part, inputs, self.learn, numbers, self.precision)
        return loss + self.term(self.part) if self.term else loss


def pace_of(config: TrainConfig, rows: int) -> tuple[int, int]:
    """Rows per step and steps per epoch."""
    size = min(config.batch_size, max(2, rows))  # BatchNorm needs two rows
    return size, max(math.ceil(rows / size), math.ceil(config.min_steps / config.epochs))


def _average(part: nn.Module, steps: int) -> AveragedModel:
    """The moving average of the weights; the statistics of norms are those of the last step."""
    decay = 1 - 1 / max(1, AVERAGED * steps)
    return AveragedModel(part, multi_avg_fn=get_ema_multi_avg_fn(decay))


def _is_finite(part: nn.Module) -> bool:
    return all(bool(torch.isfinite(weight).all()) for weight in part.state_dict().values())


def _broken(what: str, losses: list[float], **numbers: float) -> NonFiniteLoss:
    place = ", ".join(f"{name} {value:g}" for name, value in numbers.items())
    last = ", ".join(f"{loss:g}" for loss in losses[-4:])
    return NonFiniteLoss(
        f"{what} is no longer finite at {place} (last losses: {last}); choose a smaller lr, "
        "or look for damaged images or weights"
    )
