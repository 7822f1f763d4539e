"""The rows of a split as a training takes them: inputs by row number, targets and weights."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np
import pandas as pd
import torch
from torch import nn

from models.kinds import Kind
from models.network.images import Images
from models.network.network import Network
from models.network.precision import Precision
from models.scoring.predict import BATCH, predict
from models.training.config import TrainConfig

SOFT = "soft"  # the split of rows with a pseudo-label in place of a label
MIN_WEIGHT = 0.01  # of a row without trust: the weights of a batch must not sum to zero
LEAST_TRUST = 0.5  # a label that is in force is at least as likely as not


@dataclass(frozen=True)
class Rows:
    """One split: inputs by row numbers (images, or their embeddings), targets and weights."""

    take: Callable[[np.ndarray], torch.Tensor]
    targets: torch.Tensor
    weights: torch.Tensor
    smoothing: torch.Tensor  # probability that each label leaves to the other classes
    truths: np.ndarray  # labels as the snapshot has them
    groups: np.ndarray  # numbers; near-duplicates share one
    soft: np.ndarray  # mask of the rows with a pseudo-label
    classes: Sequence[str]
    kind: Kind

    def __len__(self) -> int:
        return len(self.targets)


def rows_of(
    part: pd.DataFrame,
    images: Images,
    classes: Sequence[str],
    config: TrainConfig,
    kind: Kind,
    class_weights: dict[str, float] | None = None,
) -> Rows:
    """The rows of a table whose images are open.

    A pseudo-label weighs its trust, and a label too; what its trust leaves open is spread over the
    other classes. With labels of which a sixth is wrong, each of the two gains a point
    or two of accuracy.
    """
    trust = part["trust"].fillna(1.0).to_numpy(float)
    soft = part["split"].eq(SOFT).to_numpy(bool)
    trusted = np.where(soft, config.soft_weight * trust, trust.clip(LEAST_TRUST, 1.0))
    of_class = part["label"].map(class_weights or {}).fillna(1.0).to_numpy(float)
    doubt = np.where(soft, 0.0, 1 - trusted)
    groups = part["group_id"] if "group_id" in part else part["sample_id"]
    return Rows(
        images.take,
        kind.targets(part, classes, soft=soft),
        torch.tensor(of_class * trusted, dtype=torch.float32).clamp(min=MIN_WEIGHT),
        torch.tensor(np.maximum(doubt, config.label_smoothing), dtype=torch.float32),
        part["label"].to_numpy(),
        pd.factorize(groups)[0],
        soft,
        classes,
        kind,
    )


def embedded_rows(network: Network, rows: Rows, precision: Precision) -> Rows:
    """The same rows with the backbone's embeddings as inputs."""
    numbers = np.arange(len(rows))
    parts = [numbers[start : start + BATCH] for start in range(0, len(rows), BATCH)]
    predictions = predict(network, (rows.take(part) for part in parts), device=precision.device)
    embeddings = torch.from_numpy(predictions.embeddings)
    return replace(rows, take=lambda wanted: embeddings[torch.from_numpy(wanted)])


def batches_of(rows: int, size: int, rng: np.random.Generator) -> Iterator[np.ndarray]:
    """Endless batches of `size` row numbers: every row once before any is repeated."""
    queue = np.empty(0, dtype=np.int64)
    while True:
        while len(queue) < size:
            queue = np.concatenate([queue, rng.permutation(rows)])
        yield queue[:size]
        queue = queue[size:]


def batch_loss(
    part: nn.Module, inputs: torch.Tensor, rows: Rows, numbers: np.ndarray, precision: Precision
) -> torch.Tensor:
    """The weighted mean loss of the rows with these numbers, whose inputs are given."""
    chosen = torch.from_numpy(numbers)
    targets, weights, smoothing = (
        values[chosen].to(precision.device)
        for values in (rows.targets, rows.weights, rows.smoothing)
    )
    with precision.autocast():
        raw = part(inputs)
    losses = rows.kind.loss(raw, targets, smoothing=smoothing)
    return (losses * weights).sum() / weights.sum()


@torch.inference_mode()
def raw_outputs(part: nn.Module, rows: Rows, precision: Precision) -> torch.Tensor:
    """What the head returns for the rows, in fp32 on the CPU."""
    part.eval()
    raw = [torch.empty(0)]
    for start in range(0, len(rows), BATCH):
        numbers = np.arange(start, min(start + BATCH, len(rows)))
        with precision.autocast():
            raw.append(part(precision.put(rows.take(numbers))).float().cpu())
    return torch.cat(raw[1:] or raw)


@torch.inference_mode()
def score(part: nn.Module, rows: Rows, precision: Precision) -> dict[str, float]:
    """Loss and mean credit on the rows, without smoothing or weights; empty without rows."""
    if not len(rows):
        return {}
    raw = raw_outputs(part, rows, precision)
    loss = rows.kind.loss(raw, rows.targets).double().mean()
    credit = rows.kind.credit(rows.kind.outputs(raw).numpy(), rows.truths, rows.classes).mean()
    return {"val_loss": loss.item(), "val_accuracy": float(credit)}
