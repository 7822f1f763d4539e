"""Predictions of several heads on one backbone: how far they differ is its uncertainty (BALD)."""

from pathlib import Path
from tempfile import TemporaryFile

import numpy as np
import torch

from models.network.network import Network

DROPPED = 0.5  # of the features: half of them gone is what MC dropout is known for
DECAY = 1e-3  # of a refitted head, on features of spread one
STEPS = 60  # of L-BFGS; it is a convex fit and long done by then
_AT_ONCE = 2**24  # numbers of one product


def ensemble_predictions(
    network: Network,
    embeddings: np.ndarray,
    *,
    n_members: int,
    seed: int,
    labelled: np.ndarray | None = None,
    labels: np.ndarray | None = None,
    folder: Path | None = None,
) -> np.ndarray:
    """Outputs [n_members, n, classes] of so many linear heads over the same embeddings; seeded.

    They are mapped, read-only, from a temporary file in `folder`: 4 bytes for each of them, 4 GB
    for ten members at a million samples of a hundred classes.

    With labelled embeddings: an ensemble, each head refitted on a bootstrap of them, which differs
    the more the fewer the labels are. Without: the network's own head with other features dropped
    in each member, the same for all samples, so that a member is one network and its answers belong
    together. A `labels` of -1 is not known and left out.
    """
    rng = np.random.default_rng(seed)
    known = np.flatnonzero(labels >= 0) if labels is not None else np.empty(0, int)
    if labelled is not None and labels is not None and len(known):
        weight, bias = _refitted(network, labelled[known], labels[known], n_members, rng)
    else:
        weight, bias = _thinned(network, n_members, rng)
    return _answers(network, embeddings, weight, bias, folder=folder)


def _thinned(
    network: Network, n_members: int, rng: np.random.Generator
) -> tuple[torch.Tensor, torch.Tensor]:
    """Weights [n_members, classes, width] and biases: the head with features dropped."""
    head = network.head.state_dict()
    temperature = network.temperature.cpu()
    weight, bias = (head[part].float().cpu() / temperature for part in ("weight", "bias"))
    mask = torch.from_numpy(rng.random((n_members, 1, weight.shape[1])) >= DROPPED)
    return weight * mask / (1 - DROPPED), bias.expand(n_members, -1)


def _refitted(
    network: Network,
    labelled: np.ndarray,
    labels: np.ndarray,
    n_members: int,
    rng: np.random.Generator,
) -> tuple[torch.Tensor, torch.Tensor]:
    """Weights [n_members, classes, width] and biases: each head fitted to its own bootstrap.

    The features are brought to spread one for the fit, and the heads back from it.
    """
    features = torch.from_numpy(np.array(labelled, np.float32))
    mean, spread = features.mean(0), features.std(0, correction=0)
    spread = spread.clamp_min(max(1e-6, 1e-2 * float(spread.max())))
    counts = rng.multinomial(len(labels), np.full(len(labels), 1 / len(labels)), n_members)
    share = torch.from_numpy(counts / len(labels)).float()
    targets = torch.from_numpy(labels).long().repeat(n_members)
    weight = torch.zeros(n_members, network.classes, features.shape[1], requires_grad=True)
    bias = torch.zeros(n_members, network.classes, requires_grad=True)
    optimizer = torch.optim.LBFGS([weight, bias], max_iter=STEPS, line_search_fn="strong_wolfe")
    inputs = (features - mean) / spread

    def loss() -> torch.Tensor:
        optimizer.zero_grad()
        logits = torch.einsum("nw,lcw->lnc", inputs, weight) + bias[:, None]
        each = network.kind.loss(logits.flatten(0, 1), targets)
        total = (share.flatten() * each).sum() + DECAY * weight.square().sum()
        total.backward()
        return total

    optimizer.step(loss)
    scaled = weight.detach() / spread
    return scaled, bias.detach() - scaled @ mean


def _answers(
    network: Network,
    embeddings: np.ndarray,
    weight: torch.Tensor,
    bias: torch.Tensor,
    *,
    folder: Path | None,
) -> np.ndarray:
    """The outputs of every head for every row; rows are read a few thousand at a time."""
    n_members, classes, width = weight.shape
    flat = weight.reshape(n_members * classes, width).T.contiguous()
    shape = n_members, len(embeddings), classes
    if not len(embeddings):
        return np.empty(shape, np.float32)
    step = max(1, _AT_ONCE // max(width, n_members * classes))
    with TemporaryFile(dir=folder) as file:
        for start in range(0, len(embeddings), step):
            part = torch.from_numpy(np.array(embeddings[start : start + step], np.float32))
            logits = (part @ flat).view(-1, n_members, classes) + bias
            for member, rows in enumerate(network.kind.outputs(logits).transpose(0, 1).numpy()):
                file.seek(4 * classes * (member * len(embeddings) + start))
                file.write(rows.tobytes())
        file.flush()
        return np.memmap(file, np.float32, "r", shape=shape)
