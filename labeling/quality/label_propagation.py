"""Class probabilities of samples without labels: from their neighbours and from a linear model.

The embeddings span a graph of nearest neighbours; each label spreads over it and loses part of its
weight at every step. The result solves `(I - SPREAD * S) F = Y`, S being the graph normalised as
in "Learning with local and global consistency" (Zhou et al. 2004). Neighbours predict better than
a linear model where classes are clusters, worse where they are not: both are combined, with
exponents fitted to the labels, a fifth of them predicted from the others at a time. That also
makes a confidence of 0.9 right nine times in ten.
"""

from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from scipy.sparse import csr_array

    Linear = Callable[[np.ndarray], np.ndarray]

VERSION = "propagation-2"  # another number when the same labels give other probabilities
NEIGHBOURS = 10  # of each sample, before the graph is made symmetric
SPREAD = 0.9  # of a label's weight goes on at each step; 0.99 lets one class flood a vague graph
SHARPNESS = 3  # cosine similarities are raised to it, so that near neighbours count for more
# The exact graph takes rows squared: some ten seconds for so many of 128 columns on one thread. Of
# more samples the labelled ones and an even choice span it, and the others take their mean.
GRAPH_ROWS = 50_000
BLOCK = 2**28  # bytes of similarities at a time
COLUMNS = 64  # classes spread at a time: memory stays bounded however many there are
CLOSE = 1e-5  # of the right-hand side: the equation is solved to this
STEPS = 1000  # of conjugate gradients, which stop long before
STRENGTH = 0.1  # C of the linear model
FOLDS = 5
FLOOR = 1e-3  # of a probability goes to all classes alike: nothing is impossible
SHRINKAGE = np.linspace(0.1, 1, 10)
MODEST = 1.0  # nats: of exponents that few labels cannot tell apart, the smallest are taken
EXPONENTS = (0.0, *np.geomspace(0.1, 10, 16))  # of one model's probabilities; 0 ignores it


def propagate(
    embeddings: np.ndarray,
    labelled_rows: np.ndarray,
    labels: np.ndarray,
    classes: int,
    *,
    unseen: np.ndarray | None = None,
) -> np.ndarray:
    """Class probabilities [n, classes] of every row, from the labels of some of them.

    `labels` are class numbers. A class without a label gets next to nothing; a row without
    neighbours gets the shares of the classes; labels of one class alone leave all alike. `unseen`
    marks the labels that the network behind the embeddings was not trained on: the others lie where
    training put them, so these alone show how far to trust a prediction. Deterministic. Beyond
    GRAPH_ROWS samples the cost grows with their number, no longer with its square; memory beside
    input and output is bounded by the graph.
    """
    rows, label_numbers = np.asarray(labelled_rows), np.asarray(labels)
    _check(embeddings, rows, label_numbers, classes)
    members = _members(len(embeddings), rows)
    as_directions = directions_of(embeddings, members)
    keys = as_directions(embeddings[members])
    graph = neighbour_graph(keys)
    known = np.searchsorted(members, rows)
    answers = np.eye(classes, dtype=np.float32)[label_numbers]
    inside = class_shares(spread_labels(graph, known, answers), answers)
    linear = linear_model(embeddings[rows], label_numbers, classes)
    judges = np.ones(len(rows), dtype=bool) if unseen is None else np.asarray(unseen, dtype=bool)
    exponents = _fit_exponents(graph, known, embeddings[rows], label_numbers, classes, judges)
    probs = np.empty((len(embeddings), classes), np.float32)
    size = max(1, BLOCK // (4 * len(keys)))
    for start in range(0, len(embeddings), size):
        block = np.arange(start, min(start + size, len(embeddings)))
        places = np.searchsorted(members, block).clip(max=len(members) - 1)
        shares, outside = inside[places], members[places] != block
        if outside.any():
            queries = as_directions(embeddings[block[outside]])
            shares[outside] = _mean_of_nearest(queries, keys, inside, answers)
        probs[block] = _combined(shares, linear(embeddings[block]), exponents)
    return probs


def _check(embeddings: np.ndarray, rows: np.ndarray, labels: np.ndarray, classes: int) -> None:
    if embeddings.ndim != 2 or rows.shape != labels.shape or rows.ndim != 1:
        raise ValueError(
            f"embeddings of shape {embeddings.shape}, labelled rows {rows.shape} and labels "
            f"{labels.shape}; give a row for each sample, and a label for each labelled row"
        )
    if not len(rows):
        raise ValueError("nothing is labelled, so there is nothing to propagate; label some first")
    if len(np.unique(rows)) < len(rows):
        raise ValueError("a row is labelled twice; give each the label in force alone")
    for what, numbers, limit in (("row", rows, len(embeddings)), ("class", labels, classes)):
        strange = numbers[(numbers < 0) | (numbers >= limit)]
        if len(strange):
            raise ValueError(f"there is no {what} {strange[0]}; choose from 0 to {limit - 1}")
    for start in range(0, len(embeddings), GRAPH_ROWS):
        broken = np.flatnonzero(~np.isfinite(embeddings[start : start + GRAPH_ROWS]).all(axis=1))
        if len(broken):
            raise ValueError(
                f"the embedding in row {start + broken[0]} is not finite; score it with another "
                "model, or leave it out"
            )


def _members(count: int, labelled: np.ndarray) -> np.ndarray:
    """The rows that span the graph, in ascending order: all, or the labelled and an even choice."""
    if count <= GRAPH_ROWS:
        return np.arange(count)
    return np.union1d(labelled, np.linspace(0, count - 1, GRAPH_ROWS).astype(np.int64))


def directions_of(
    embeddings: np.ndarray, members: np.ndarray
) -> Callable[[np.ndarray], np.ndarray]:
    """How rows become directions of length one, so that a product is a cosine.

    Their few large components drown the others; each is divided by the root of its deviation: 2 to
    3 points of accuracy on CIFAR-10, none lost on the digits.
    """
    rows = np.asarray(embeddings[members], dtype=np.float64)
    centre = rows.mean(axis=0)
    rows -= centre
    strength, axes = np.linalg.eigh(rows.T @ rows / len(rows))
    varies = strength > 1e-6 * max(strength[-1], np.finfo(float).tiny)
    if not (rows != 0).any() or not varies.any():  # all the same: each is a neighbour of each
        centre, axes, varies, strength = centre * 0, np.eye(len(centre)), ..., np.ones(len(centre))
    turn = (axes[:, varies] * strength[varies] ** -0.25).astype(np.float32)

    def directions(block: np.ndarray) -> np.ndarray:
        turned = (np.asarray(block, np.float32) - centre.astype(np.float32)) @ turn
        length = np.linalg.norm(turned, axis=1, keepdims=True)
        return turned / np.where(length > 0, length, 1)

    return directions


def neighbour_graph(rows: np.ndarray) -> "csr_array":
    """The nearest neighbours of each row and how near they are: symmetric, divided by degree."""
    from scipy.sparse import coo_array, csr_array, diags_array

    if len(rows) < 2:
        return csr_array((len(rows), len(rows)))
    parts = list(_nearest(rows, rows, min(NEIGHBOURS, len(rows) - 1), own=True))
    ends, near = (np.concatenate(part) for part in zip(*parts, strict=True))
    starts = np.repeat(np.arange(len(ends)), ends.shape[1])
    one_way = coo_array((near.ravel(), (starts, ends.ravel())), shape=(len(rows), len(rows)))
    both = one_way.tocsr().maximum(one_way.T.tocsr())
    degree = np.asarray(both.sum(axis=1)).ravel()
    scale = diags_array(1 / np.sqrt(np.where(degree > 0, degree, 1)))
    return (scale @ both @ scale).tocsr()


def _nearest(
    queries: np.ndarray, keys: np.ndarray, count: int, *, own: bool = False
) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """The `count` nearest keys of each query and how near they are, a block at a time.

    With `own` row i is key i, and no neighbour of itself.
    """
    size = min(len(queries), max(1, BLOCK // (4 * len(keys))))
    room = np.empty((size, len(keys)), np.float32)  # the same for all: fresh memory costs time
    for start in range(0, len(queries), size):
        part = queries[start : start + size]
        likeness = np.matmul(part, keys.T, out=room[: len(part)])
        if own:
            mine = np.arange(len(likeness))
            likeness[mine, start + mine] = -np.inf
        best = _largest(likeness, count)
        cosine = np.take_along_axis(likeness, best, axis=1).astype(float)
        yield best, np.clip(cosine, 0, 1) ** SHARPNESS


def _largest(values: np.ndarray, count: int, width: int = 64) -> np.ndarray:
    """The columns of the `count` largest values of each row: exact, in no order.

    They lie in those `count` groups of columns whose largest values are largest; the others need
    not be searched, which saves most of the time.
    """
    groups = values.shape[1] // width  # column c is of group c % groups: this way round is fast
    if groups <= 2 * count:
        return np.argpartition(values, values.shape[1] - count, axis=1)[:, -count:]
    tops = values[:, : groups * width].reshape(len(values), width, groups).max(axis=1)
    best = np.argpartition(tops, groups - count, axis=1)[:, -count:]
    inside = (best[:, :, None] + groups * np.arange(width)).reshape(len(values), -1)
    rest = np.tile(np.arange(groups * width, values.shape[1]), (len(values), 1))
    columns = np.concatenate([inside, rest], axis=1)
    among = np.take_along_axis(values, columns, axis=1)
    best = np.argpartition(among, among.shape[1] - count, axis=1)[:, -count:]
    return np.take_along_axis(columns, best, axis=1)


def spread_labels(graph: "csr_array", rows: np.ndarray, answers: np.ndarray) -> np.ndarray:
    """The weight at every row of the graph [n, classes] that spreads from the labelled rows."""
    spread = np.empty((graph.shape[0], answers.shape[1]), np.float32)
    for start in range(0, answers.shape[1], COLUMNS):
        part = np.zeros((graph.shape[0], min(COLUMNS, answers.shape[1] - start)))
        part[rows] = answers[:, start : start + COLUMNS]
        spread[:, start : start + COLUMNS] = np.clip(_solved(graph, part), 0, None)
    return spread


def _solved(graph: "csr_array", right: np.ndarray) -> np.ndarray:
    """X with (I - SPREAD * graph) X = right, by conjugate gradients on each column."""
    from scipy.sparse import eye_array
    from scipy.sparse.linalg import cg

    matrix = (eye_array(graph.shape[0], format="csr") - SPREAD * graph).tocsr()
    columns = (cg(matrix, column, rtol=CLOSE, maxiter=STEPS)[0] for column in right.T)
    return np.column_stack(list(columns))


def class_shares(spread: np.ndarray, answers: np.ndarray) -> np.ndarray:
    """Weights as shares of each row; the shares among the answers where no weight came."""
    total = spread.sum(axis=1, keepdims=True)
    return np.where(total > 0, spread / np.where(total > 0, total, 1), answers.mean(axis=0))


def _mean_of_nearest(
    queries: np.ndarray, keys: np.ndarray, inside: np.ndarray, answers: np.ndarray
) -> np.ndarray:
    """The shares of rows outside the graph: the mean of their nearest ones inside."""
    parts = [
        np.einsum("rk,rkc->rc", weight, inside[near])
        for near, weight in _nearest(queries, keys, min(NEIGHBOURS, len(keys)))
    ]
    return class_shares(np.concatenate(parts), answers)


def linear_model(embeddings: np.ndarray, labels: np.ndarray, classes: int) -> "Linear":
    """Logistic regression on rows of known class numbers, as class probabilities of any rows."""
    from sklearn.linear_model import LogisticRegression
    from sklearn.preprocessing import StandardScaler

    if len(np.unique(labels)) < 2:
        return lambda rows: np.full((len(rows), classes), 1 / classes, np.float32)
    scale = StandardScaler().fit(embeddings)
    fitted = LogisticRegression(C=STRENGTH, max_iter=500)
    fitted.fit(scale.transform(embeddings), labels)

    def linear(rows: np.ndarray) -> np.ndarray:
        probs = np.zeros((len(rows), classes), np.float32)
        probs[:, fitted.classes_] = fitted.predict_proba(scale.transform(rows))
        return probs

    return linear


def _fit_exponents(
    graph: "csr_array",
    known: np.ndarray,
    embeddings: np.ndarray,
    labels: np.ndarray,
    classes: int,
    judges: np.ndarray,
) -> tuple[float, float]:
    """The exponents of neighbours and linear model that make held-out labels most probable.

    A label that is the only one of its class counts, too: in the pool there are such. Labels of one
    class alone fit no exponent.
    """
    if len(np.unique(labels)) < 2:
        return 0.0, 0.0
    folds = np.empty(len(labels), int)
    folds[np.lexsort((known, labels))] = np.arange(len(labels)) % FOLDS  # each class in all
    answers = np.eye(classes, dtype=np.float32)[labels]
    shares, linear = np.zeros_like(answers), np.zeros_like(answers)
    judged = np.zeros(len(labels), dtype=bool)
    for fold in range(FOLDS):
        held, learn = folds == fold, folds != fold
        if held.any() and learn.any():
            spread = spread_labels(graph, known[learn], answers[learn])[known[held]]
            shares[held] = class_shares(spread, answers[learn])
            model = linear_model(embeddings[learn], labels[learn], classes)
            linear[held] = model(embeddings[held])
            judged |= held & judges
    if not judged.any():
        return 0.0, 0.0
    doubt = 1 / (judged.sum() + 2)  # as if one more had been predicted wrong
    target = (1 - doubt) * answers[judged] + doubt / classes

    def cost(near: float, far: float) -> float:
        predicted = _combined(shares[judged], linear[judged], (near, far))
        return float(-(target * np.log(predicted)).sum())

    pairs = [(near, far) for near in EXPONENTS for far in EXPONENTS if near or far]
    costs = {(near, far): cost(near, far) for near, far in pairs}
    near, far = min(costs, key=costs.__getitem__)
    enough = costs[near, far] + MODEST
    part = next(part for part in SHRINKAGE if part == 1 or cost(part * near, part * far) <= enough)
    return part * near, part * far


def _combined(shares: np.ndarray, linear: np.ndarray, exponents: tuple[float, float]) -> np.ndarray:
    """The product of both models' probabilities, each to its power, as probabilities."""
    logs = np.zeros(shares.shape)
    for probs, exponent in zip((shares, linear), exponents, strict=True):
        logs += exponent * np.log((1 - FLOOR) * probs + FLOOR / probs.shape[1])
    odds = np.exp(logs - logs.max(axis=1, keepdims=True))
    probs = odds / odds.sum(axis=1, keepdims=True)
    return np.asarray((1 - FLOOR) * probs + FLOOR / probs.shape[1], dtype=np.float32)
