"""Consistency: what the network is sure of in an image, it should answer in a distorted view too.

A part of FixMatch (Sohn et al., 2020) for a network that already knows the classes: images without
a label, a mild view whose confident answer is the target, and a strong view that learns it.
"""

from dataclasses import replace

import numpy as np
import torch
from torch import nn

from models.network.images import augment
from models.network.precision import Precision
from models.training.config import TrainConfig
from models.training.loop import MIN_VAL_ROWS, Progress, Term, fit, pace_of
from models.training.recipe import Recipe
from models.training.rows import Rows, batches_of

CONFIDENT = 0.95  # probability of an answer that is learnt from
STRONGER = 2.5  # times as far as the views that labels are learnt from
CUT = 0.4  # of the image's side that a strong view hides
SHARE = 0.5  # of the epochs and of the learning rate of the training before


def try_consistency(
    network: nn.Module,
    learn: Rows,
    held: Rows,
    config: TrainConfig,
    recipe: Recipe,
    precision: Precision,
    progress: Progress,
) -> str:
    """Train on with consistency on the soft rows, and keep that where the val loss is lower.

    Returns what was decided, in words. With fewer than MIN_VAL_ROWS val rows nothing is tried.
    """
    if len(held) < MIN_VAL_ROWS:
        return f"not tried: {len(held)} validation rows are fewer than {MIN_VAL_ROWS}"
    before, epochs = progress.best_loss, len(progress.history)
    shorter = replace(
        config,
        epochs=max(1, round(config.epochs * SHARE)),
        min_steps=round(config.min_steps * SHARE),
        lr=config.lr * SHARE,
    )
    term = consistency_term(learn, config, precision)
    fit(network, learn, held, shorter, recipe, precision, progress, term=term)
    after = min(row["val_loss"] for row in progress.history[epochs:])
    words = f"validation loss {after:.3f} with it, {before:.3f} without"
    return f"{'used' if progress.best_epoch > epochs else 'left out'}: {words}"


def consistency_term(learn: Rows, config: TrainConfig, precision: Precision) -> Term:
    """The loss of strong views of soft rows against the confident answers to mild ones."""
    rng = np.random.default_rng([config.seed, 1])
    numbers = np.flatnonzero(learn.soft)
    batches = batches_of(len(numbers), pace_of(config, len(numbers))[0], rng)

    def term(part: nn.Module) -> torch.Tensor:
        images = precision.put(learn.take(numbers[next(batches)]))
        mild = precision.put(augment(images, rng, flip=config.flip))
        strong = precision.put(strong_view(images, rng, flip=config.flip))
        with precision.autocast():
            with torch.no_grad():
                answers = learn.kind.outputs(part(mild))
            raw = part(strong)
        confidence, targets = answers.max(dim=1)
        losses = learn.kind.loss(raw, targets)
        return (losses * (confidence >= CONFIDENT)).mean()

    return term


def strong_view(images: torch.Tensor, rng: np.random.Generator, *, flip: bool) -> torch.Tensor:
    """The images distorted STRONGER, with a square of each in its mean colour."""
    views = augment(images, rng, flip=flip, strength=STRONGER)
    side = views.shape[2]
    cut = max(1, round(CUT * side))
    corners = rng.integers(0, side - cut + 1, size=(len(views), 2))
    for view, (top, left) in zip(views, corners.tolist(), strict=True):
        view[:, top : top + cut, left : left + cut] = view.mean(dim=(1, 2), keepdim=True)
    return views
