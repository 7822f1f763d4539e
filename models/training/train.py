"""The training loop: a snapshot's rows -> the network of the best epoch."""

import copy
import math
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from statistics import fmean
from typing import Annotated, Any

import numpy as np
import pandas as pd
import torch
from pydantic import Field
from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm

from core.configuration import OneOf, configuration
from models.kinds import DEFAULT, KINDS, Kind
from models.network.images import Images, augment, open_images
from models.network.network import Network, NetworkConfig, build
from models.network.precision import PRECISIONS, Precision, choose_precision, threads_set
from models.scoring.predict import BATCH, predict
from models.training.temperature import fit_temperature
from models.training.trainable import missing_rows

FINE_TUNES = ("full", "frozen")
MIN_VAL_ROWS = 50  # fewer do not rank epochs reliably: choosing by 9 rows cost 7 points
MIN_NORM_ROWS, MAX_NORM_ROWS = 16, 2048  # rows that BatchNorm's final statistics are taken from
MIN_WEIGHT = 0.01  # of a row without trust: the weights of a batch must not sum to zero
SOFT = "soft"  # the split of rows with a pseudo-label in place of a label


class NonFiniteLoss(ValueError):
    """The loss or a weight is no longer finite; the message names the step and the last losses."""


@configuration("train")
class TrainConfig:
    """How a network is trained."""

    epochs: int = Field(
        default=20, ge=1, description="at most; the learning rate falls to zero at the end"
    )
    min_steps: int = Field(  # small snapshots need more epochs than large ones
        default=200, ge=0, description="optimizer steps in all, at least"
    )
    batch_size: int = Field(  # the smallest that keeps a core busy; large enough for BatchNorm
        default=64, ge=2, description="images in one step"
    )
    lr: float = Field(  # AdamW's usual; from scratch, twice that works too
        default=1e-3, gt=0, allow_inf_nan=False, description="highest learning rate, such as 0.001"
    )
    weight_decay: float = Field(
        default=0.05,
        ge=0,
        allow_inf_nan=False,
        description="of matrices and kernels; norms and biases have none",
    )
    warmup: float = Field(
        default=0.1, ge=0, lt=1, description="share of the steps in which the learning rate rises"
    )
    label_smoothing: float = Field(  # a few labels are always wrong
        default=0.05, ge=0, lt=1, description="probability spread over the other classes"
    )
    augment: bool = Field(  # a few hundred images are otherwise memorised
        default=True, description="crop, rotate and recolour images at random"
    )
    flip: bool = Field(  # mirroring changes digits, signs and letters; turn on for animals
        default=False, description="mirror images at random"
    )
    fine_tune: Annotated[str, OneOf(FINE_TUNES)] = Field(
        default="full", description='"frozen" trains the head only: minutes become seconds'
    )
    patience: int = Field(
        default=20, ge=1, description="epochs without improvement after which training stops"
    )
    soft_weight: float = Field(
        default=0.5, ge=0, lt=1, description="of a certain pseudo-label; a label has 1"
    )
    precision: Annotated[str, OneOf(PRECISIONS)] = Field(
        default="auto", description='"fp32" gives the same bits every time on one processor'
    )
    seed: int = Field(default=0, ge=0, description="of everything random in the training")


@dataclass(frozen=True)
class Trained:
    """The network of the best epoch, with the history of its training."""

    network: Network
    history: list[dict[str, float]]  # a row an epoch; the best one describes this network
    best_epoch: int  # from 1
    precision: str  # as it was run, such as "bf16 on cpu"
    absent_classes: list[str]  # without a training row


@dataclass(frozen=True)
class _Rows:
    """One split: inputs by row numbers (images, or their embeddings), targets and weights."""

    take: Callable[[np.ndarray], torch.Tensor]
    targets: torch.Tensor
    weights: torch.Tensor
    truths: np.ndarray  # labels as the snapshot has them
    classes: Sequence[str]
    kind: Kind

    def __len__(self) -> int:
        return len(self.targets)


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
) -> Trained:
    """A network trained on the "train" rows of `table`, its best epoch chosen on the "val" rows.

    "soft" rows are trained on as well, with less weight. Seeded: the same rows, threads and
    processor give the same result (on a CPU in "fp32"). With fewer than MIN_VAL_ROWS "val" rows the
    training loss chooses the epoch.
    """
    _check(table, config, network)
    with threads_set(threads), torch.random.fork_rng():
        torch.manual_seed(config.seed)
        made = build(network, classes=len(classes), image_size=image_size, kind=kind)
        trained_on = ["train", SOFT] if config.soft_weight else ["train"]
        learn, held = (
            _rows(
                part, open_images(part, shards, image_size, threads=threads), classes, config, kind
            )
            for part in (table[table["split"].isin(splits)] for splits in (trained_on, ["val"]))
        )
        precision = _precision(made, learn, config, device)
        precision.place(made)
        part: nn.Module = made
        if config.fine_tune == "frozen":
            made.backbone.requires_grad_(False)
            if not config.augment:  # constant embeddings: computed once
                learn, held = _embedded(made, learn, precision), _embedded(made, held, precision)
                part = made.head
        history, best_epoch = _fit(part, learn, held, config, precision, on_epoch)
        if config.fine_tune == "full":
            _recompute_norms(made, learn, precision, np.random.default_rng(config.seed))
            history[best_epoch - 1] |= _score(made, held, precision)
        temperature = fit_temperature(_raw_outputs(part, held, precision), held.targets, kind)
        made.temperature.fill_(temperature)
        history[best_epoch - 1] |= {"temperature": temperature}
    made.requires_grad_(True).eval()
    present = set(table.loc[table["split"] == "train", "label"])
    absent = [name for name in classes if name not in present]
    return Trained(made, history, best_epoch, str(precision), absent)


def _fit(
    part: nn.Module,
    learn: _Rows,
    held: _Rows,
    config: TrainConfig,
    precision: Precision,
    on_epoch: Callable[[dict[str, float]], None] | None,
) -> tuple[list[dict[str, float]], int]:
    """Train `part` and load its best epoch; return one row per epoch, and the best epoch."""
    rng = np.random.default_rng(config.seed)
    size, steps = _pace(config, len(learn))
    batches = _batches(len(learn), size, rng)
    optimizer = _optimizer(part, config)
    history: list[dict[str, float]] = []
    best_loss, best_epoch, best = math.inf, 0, part.state_dict()
    for epoch in range(1, config.epochs + 1):
        began, losses = time.perf_counter(), []
        _train_mode(part, config)
        for step in range((epoch - 1) * steps, epoch * steps):
            rate = config.lr * rate_share(step, steps * config.epochs, config.warmup)
            for group in optimizer.param_groups:
                group["lr"] = rate
            rows = next(batches)
            inputs = precision.put(learn.take(rows))
            if config.augment:
                inputs = precision.put(augment(inputs, rng, flip=config.flip))
            loss = _loss(part, inputs, learn, rows, config.label_smoothing, precision)
            losses.append(loss.item())
            if not math.isfinite(losses[-1]):
                raise _broken("the loss", losses, epoch=epoch, step=step + 1, rate=rate)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
        pace = steps * size / (time.perf_counter() - began)
        row = {"epoch": epoch, "step": epoch * steps, "lr": rate, "train_loss": fmean(losses)}
        row |= _score(part, held, precision)
        selection_loss = row["val_loss"] if len(held) >= MIN_VAL_ROWS else row["train_loss"]
        if not (math.isfinite(selection_loss) and _is_finite(part)):
            raise _broken("a weight", losses, epoch=epoch, step=epoch * steps, rate=rate)
        history.append(row)
        if on_epoch:
            on_epoch({**row, "images_per_second": pace})
        if selection_loss <= best_loss:  # of equals the later: its learning rate was lower
            best_loss, best_epoch = selection_loss, epoch
            best = copy.deepcopy(part.state_dict())
        elif epoch - best_epoch >= config.patience:
            break
    part.load_state_dict(best)
    return history, best_epoch


def rate_share(step: int, total: int, warmup: float) -> float:
    """The share of the learning rate at `step`: linear warm-up, then a cosine to zero."""
    rise = max(1, round(warmup * total))
    if step < rise:
        return (step + 1) / rise
    return 0.5 * (1 + math.cos(math.pi * (step - rise) / max(1, total - rise)))


def _check(table: pd.DataFrame, config: TrainConfig, network: NetworkConfig) -> None:
    if missing := missing_rows(table):
        raise ValueError(missing)
    if config.fine_tune == "frozen" and network.weights is None:
        raise ValueError(
            "fine_tune is 'frozen' with weights None: the backbone would stay random; choose "
            "'full', or weights 'default' or a file"
        )


def _pace(config: TrainConfig, rows: int) -> tuple[int, int]:
    """Rows per step and steps per epoch."""
    size = min(config.batch_size, max(2, rows))  # BatchNorm needs two rows
    return size, max(math.ceil(rows / size), math.ceil(config.min_steps / config.epochs))


def _rows(
    part: pd.DataFrame, images: Images, classes: Sequence[str], config: TrainConfig, kind: Kind
) -> _Rows:
    weights = torch.ones(len(part))
    soft = part["split"].eq(SOFT).to_numpy(bool)
    weights[soft.tolist()] = config.soft_weight * torch.tensor(
        part["trust"][soft].tolist(), dtype=torch.float32
    )
    return _Rows(
        images.take,
        kind.targets(part, classes, soft=soft),
        weights.clamp(min=MIN_WEIGHT),
        part["label"].to_numpy(),
        classes,
        kind,
    )


def _embedded(network: Network, rows: _Rows, precision: Precision) -> _Rows:
    """The same rows with the backbone's embeddings as inputs."""
    numbers = np.arange(len(rows))
    parts = [numbers[start : start + BATCH] for start in range(0, len(rows), BATCH)]
    predictions = predict(
        network,
        (rows.take(part) for part in parts),
        device=precision.device,
    )
    embeddings = torch.from_numpy(predictions.embeddings)
    return replace(rows, take=lambda wanted: embeddings[torch.from_numpy(wanted)])


def _batches(rows: int, size: int, rng: np.random.Generator) -> Iterator[np.ndarray]:
    """Endless batches of `size` row numbers: every row once before any is repeated."""
    queue = np.empty(0, dtype=np.int64)
    while True:
        while len(queue) < size:
            queue = np.concatenate([queue, rng.permutation(rows)])
        yield queue[:size]
        queue = queue[size:]


def _optimizer(part: nn.Module, config: TrainConfig) -> torch.optim.Optimizer:
    trained = [weight for weight in part.parameters() if weight.requires_grad]
    groups: list[dict[str, Any]] = [
        {"params": [weight for weight in trained if weight.ndim > 1]},
        {"params": [weight for weight in trained if weight.ndim <= 1], "weight_decay": 0.0},
    ]
    return torch.optim.AdamW(groups, lr=config.lr, weight_decay=config.weight_decay, fused=True)


def _train_mode(part: nn.Module, config: TrainConfig) -> None:
    part.train()
    if config.fine_tune == "frozen" and isinstance(part, Network):
        part.backbone.eval()  # in training mode BatchNorm would still change


def _loss(
    part: nn.Module,
    inputs: torch.Tensor,
    rows: _Rows,
    numbers: np.ndarray,
    smoothing: float,
    precision: Precision,
) -> torch.Tensor:
    chosen = torch.from_numpy(numbers)
    targets = rows.targets[chosen].to(precision.device)
    weights = rows.weights[chosen].to(precision.device)
    with precision.autocast():
        raw = part(inputs)
    losses = rows.kind.loss(raw, targets, smoothing=smoothing)
    return (losses * weights).sum() / weights.sum()


@torch.inference_mode()
def _raw_outputs(part: nn.Module, rows: _Rows, precision: Precision) -> torch.Tensor:
    """What the head returns for the rows, in fp32 on the CPU."""
    part.eval()
    raw = [torch.empty(0)]
    for start in range(0, len(rows), BATCH):
        numbers = np.arange(start, min(start + BATCH, len(rows)))
        with precision.autocast():
            raw.append(part(precision.put(rows.take(numbers))).float().cpu())
    return torch.cat(raw[1:] or raw)


@torch.inference_mode()
def _score(part: nn.Module, rows: _Rows, precision: Precision) -> dict[str, float]:
    """Loss and mean credit on the rows, without smoothing or weights; empty without rows."""
    if not len(rows):
        return {}
    raw = _raw_outputs(part, rows, precision)
    loss = rows.kind.loss(raw, rows.targets).double().mean()
    credit = rows.kind.credit(rows.kind.outputs(raw).numpy(), rows.truths, rows.classes).mean()
    return {"val_loss": loss.item(), "val_accuracy": float(credit)}


def _precision(network: Network, rows: _Rows, config: TrainConfig, device: str | None) -> Precision:
    size, steps = _pace(config, len(rows))
    numbers = next(_batches(len(rows), size, np.random.default_rng(config.seed)))

    def start(twin: nn.Module, precision: Precision) -> Callable[[torch.Tensor], None]:
        optimizer = _optimizer(twin.train(), config)

        def step(batch: torch.Tensor) -> None:
            optimizer.zero_grad()
            _loss(twin, batch, rows, numbers, config.label_smoothing, precision).backward()
            optimizer.step()

        return step

    return choose_precision(
        config.precision,
        network,
        rows.take(numbers),
        start=start,
        steps=steps * config.epochs,
        device=device,
    )


def _recompute_norms(
    network: Network, rows: _Rows, precision: Precision, rng: np.random.Generator
) -> None:
    """Take BatchNorm's statistics anew from images without augmentation, as in prediction.

    Measured gain: 1 point of accuracy on the digits, with 60 to 240 labels.
    """
    norms = [part for part in network.modules() if isinstance(part, _BatchNorm)]
    if not norms or len(rows) < MIN_NORM_ROWS:
        return
    network.eval()
    before = [norm.momentum for norm in norms]
    for norm in norms:
        norm.reset_running_stats()
        norm.train().momentum = None  # the plain average over all batches
    chosen = rng.permutation(len(rows))[:MAX_NORM_ROWS]
    with torch.no_grad(), precision.autocast():
        for numbers in np.array_split(chosen, math.ceil(len(chosen) / BATCH)):
            network(precision.put(rows.take(numbers)))
    for norm, momentum in zip(norms, before, strict=True):
        norm.momentum = momentum
    network.eval()


def _is_finite(part: nn.Module) -> bool:
    return all(bool(torch.isfinite(weight).all()) for weight in part.state_dict().values())


def _broken(what: str, losses: list[float], **numbers: float) -> NonFiniteLoss:
    place = ", ".join(f"{name} {value:g}" for name, value in numbers.items())
    last = ", ".join(f"{loss:g}" for loss in losses[-4:])
    return NonFiniteLoss(
        f"{what} is no longer finite at {place} (last losses: {last}); choose a smaller lr, "
        "or look for damaged images or weights"
    )
