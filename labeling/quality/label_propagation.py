"""What the labels say of samples that have none: by their neighbours, and by a linear model.

The embeddings span a graph of nearest neighbours; each label spreads over it and loses some of its
weight at every step. `(I - SPREAD * S) F = Y` says where it ends, S being the graph normalised as
in "Learning with local and global consistency" (Zhou et al. 2004). Neighbours tell more than a
linear model where classes are clusters, less where they are not: both are heard, and how far each
is believed is learnt from the labels, a fifth of them guessed from the others at a time. That also
makes a confidence of 0.9 right nine times in ten.
"""

from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from scipy.sparse import csr_array

    Linear = Callable[[np.ndarray], np.ndarray]

VERSION = "propagation-1"  # another number when the same labels would give other guesses
NEIGHBOURS = 10  # of each sample, before the graph is made symmetric
SPREAD = 0.9  # of a label's weight goes on at each step; 0.99 lets one class flood a vague graph
SHARPNESS = 3  # cosine similarities are raised to it, so that near neighbours count for more
# The exact graph takes rows squared: some ten seconds for so many of 128 columns on one thread. Of
# more samples the labelled ones and an even choice span it, and the others listen to those.
GRAPH_ROWS = 50_000
BLOCK = 2**28  # bytes of similarities at a time
COLUMNS = 64  # classes spread at a time: memory stays bounded however many there are
CLOSE = 1e-5  # of the right-hand side: the equation is solved to this
STEPS = 1000  # of conjugate gradients, which stop long before
HOLD = 0.1  # C of the linear model
FOLDS = 5
FLOOR = 1e-3  # of a probability goes to all classes alike: nothing is impossible
LESS = np.linspace(0.1, 1, 10)
MODEST = 1.0  # nats: of the parts of a belief that few labels cannot tell apart, the least is held
BELIEFS = (0.0, *np.geomspace(0.1, 10, 16))  # exponents of what a witness says; 0 ignores it


def propagate(
    embeddings: np.ndarray,
    labelled_rows: np.ndarray,
    labels: np.ndarray,
    classes: int,
    *,
    unseen: np.ndarray | None = None,
) -> np.ndarray:
    """Class probabilities [n, classes] of every row, from the labels of some of them.

    `labels` are class numbers. A class without a label gets next to nothing; where no neighbour
    says anything the shares of the classes do; labels of one class alone leave all alike. `unseen`
    tells the labels that the network behind the embeddings did not learn from: the others lie where
    learning put them, so these alone show how far to believe a guess. Deterministic. Beyond
    GRAPH_ROWS samples the cost grows with their number, no longer with its square; memory beside
    what comes in and out is bounded by the graph.
    """
    rows, said = np.asarray(labelled_rows), np.asarray(labels)
    _check(embeddings, rows, said, classes)
    members = _members(len(embeddings), rows)
    as_directions = _directions(embeddings, members)
    keys = as_directions(embeddings[members])
    graph = _graph(keys)
    known, answers = np.searchsorted(members, rows), np.eye(classes, dtype=np.float32)[said]
    inside = _shares(_spread(graph, known, answers), answers)
    linear = linear_model(embeddings[rows], said, classes)
    judges = np.ones(len(rows), dtype=bool) if unseen is None else np.asarray(unseen, dtype=bool)
    beliefs = _beliefs(graph, known, embeddings[rows], said, classes, judges)
    probs = np.empty((len(embeddings), classes), np.float32)
    size = max(1, BLOCK // (4 * len(keys)))
    for start in range(0, len(embeddings), size):
        block = np.arange(start, min(start + size, len(embeddings)))
        places = np.searchsorted(members, block).clip(max=len(members) - 1)
        told, outside = inside[places], members[places] != block
        if outside.any():
            asking = as_directions(embeddings[block[outside]])
            told[outside] = _listened(asking, keys, inside, answers)
        probs[block] = _believed(told, linear(embeddings[block]), beliefs)
    return probs


def _check(embeddings: np.ndarray, rows: np.ndarray, said: np.ndarray, classes: int) -> None:
    if embeddings.ndim != 2 or rows.shape != said.shape or rows.ndim != 1:
        raise ValueError(
            f"embeddings of shape {embeddings.shape}, labelled rows {rows.shape} and labels "
            f"{said.shape}; give a row for each sample, and a label for each labelled row"
        )
    if not len(rows):
        raise ValueError("nothing is labelled, so there is nothing to propagate; label some first")
    if len(np.unique(rows)) < len(rows):
        raise ValueError("a row is labelled twice; give each the label in force alone")
    for what, found, limit in (("row", rows, len(embeddings)), ("class", said, classes)):
        strange = found[(found < 0) | (found >= limit)]
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


def _directions(embeddings: np.ndarray, members: np.ndarray) -> Callable[[np.ndarray], np.ndarray]:
    """How rows become directions of length one, so that a product is a cosine.

    Their few large components drown the others; each is divided by the root of its deviation: 2 to
    3 points of accuracy on CIFAR-10, none lost on the digits.
    """
    rows = np.asarray(embeddings[members], dtype=np.float64)
    centre = rows.mean(axis=0)
    rows -= centre
    strength, axes = np.linalg.eigh(rows.T @ rows / len(rows))
    kept = strength > 1e-6 * max(strength[-1], np.finfo(float).tiny)
    if not (rows != 0).any() or not kept.any():  # all the same: each is a neighbour of each
        centre, axes, kept, strength = centre * 0, np.eye(len(centre)), ..., np.ones(len(centre))
    turn = (axes[:, kept] * strength[kept] ** -0.25).astype(np.float32)

    def directions(block: np.ndarray) -> np.ndarray:
        turned = (np.asarray(block, np.float32) - centre.astype(np.float32)) @ turn
        length = np.linalg.norm(turned, axis=1, keepdims=True)
        return turned / np.where(length > 0, length, 1)

    return directions


def _graph(rows: np.ndarray) -> "csr_array":
    """Who is a near neighbour of whom, and how near: symmetric, and normalised by degree."""
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
    asking: np.ndarray, keys: np.ndarray, count: int, *, own: bool = False
) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """The `count` nearest keys of each row asking and how near they are, a block at a time.

    With `own` row i is key i, and no neighbour of itself.
    """
    size = min(len(asking), max(1, BLOCK // (4 * len(keys))))
    room = np.empty((size, len(keys)), np.float32)  # the same for all: fresh memory costs time
    for start in range(0, len(asking), size):
        part = asking[start : start + size]
        likeness = np.matmul(part, keys.T, out=room[: len(part)])
        if own:
            mine = np.arange(len(likeness))
            likeness[mine, start + mine] = -np.inf
        best = _largest(likeness, count)
        cosine = np.take_along_axis(likeness, best, axis=1).astype(float)
        yield best, np.clip(cosine, 0, 1) ** SHARPNESS


def _largest(values: np.ndarray, count: int, width: int = 64) -> np.ndarray:
    """The columns of the `count` largest values of each row: exact, in no order.

    They lie in those `count` groups of columns whose largest values are largest; looking at the
    others is spared, which is most of the time.
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


def _spread(graph: "csr_array", rows: np.ndarray, answers: np.ndarray) -> np.ndarray:
    """What ends up at every row of the graph [n, classes] of the answers given at some rows."""
    spread = np.empty((graph.shape[0], answers.shape[1]), np.float32)
    for start in range(0, answers.shape[1], COLUMNS):
        part = np.zeros((graph.shape[0], min(COLUMNS, answers.shape[1] - start)))
        part[rows] = answers[:, start : start + COLUMNS]
        spread[:, start : start + COLUMNS] = np.clip(_solved(graph, part), 0, None)
    return spread


def _solved(graph: "csr_array", given: np.ndarray) -> np.ndarray:
    """X with (I - SPREAD * graph) X = given, by conjugate gradients on all columns at once."""
    tiny = np.finfo(float).tiny
    found, left = np.zeros_like(given), given.copy()
    way, size = left.copy(), (left**2).sum(axis=0)
    enough = CLOSE**2 * size
    for _ in range(STEPS):
        if (size <= enough).all():
            break
        ahead = way - SPREAD * (graph @ way)
        step = size / np.maximum((way * ahead).sum(axis=0), tiny)
        found += step * way
        left -= step * ahead
        before, size = size, (left**2).sum(axis=0)
        way = left + size / np.maximum(before, tiny) * way
    return found


def _shares(spread: np.ndarray, answers: np.ndarray) -> np.ndarray:
    """Weights as shares of each row; the shares among the answers where no weight came."""
    total = spread.sum(axis=1, keepdims=True)
    return np.where(total > 0, spread / np.where(total > 0, total, 1), answers.mean(axis=0))


def _listened(
    asking: np.ndarray, keys: np.ndarray, inside: np.ndarray, answers: np.ndarray
) -> np.ndarray:
    """The shares of rows outside the graph: the mean of their nearest ones inside."""
    parts = [
        np.einsum("rk,rkc->rc", weight, inside[near])
        for near, weight in _nearest(asking, keys, min(NEIGHBOURS, len(keys)))
    ]
    return _shares(np.concatenate(parts), answers)


def linear_model(
    embeddings: np.ndarray, said: np.ndarray, classes: int, weights: np.ndarray | None = None
) -> "Linear":
    """Logistic regression on rows of known class numbers, as class probabilities of any rows."""
    from sklearn.linear_model import LogisticRegression
    from sklearn.preprocessing import StandardScaler

    if len(np.unique(said)) < 2:
        return lambda rows: np.full((len(rows), classes), 1 / classes, np.float32)
    scale = StandardScaler().fit(embeddings, sample_weight=weights)
    fitted = LogisticRegression(C=HOLD, max_iter=500)
    fitted.fit(scale.transform(embeddings), said, sample_weight=weights)

    def linear(rows: np.ndarray) -> np.ndarray:
        probs = np.zeros((len(rows), classes), np.float32)
        probs[:, fitted.classes_] = fitted.predict_proba(scale.transform(rows))
        return probs

    return linear


def _beliefs(
    graph: "csr_array",
    known: np.ndarray,
    embeddings: np.ndarray,
    said: np.ndarray,
    classes: int,
    judges: np.ndarray,
) -> tuple[float, float]:
    """How far to believe neighbours and linear model: as makes labels held out most probable.

    A label that is the only one of its class counts, too: in the pool there are such. Labels of one
    class only tell nothing.
    """
    if len(np.unique(said)) < 2:
        return 0.0, 0.0
    folds = np.empty(len(said), int)
    folds[np.lexsort((known, said))] = np.arange(len(said)) % FOLDS  # each class in all of them
    answers = np.eye(classes, dtype=np.float32)[said]
    told, straight = np.zeros_like(answers), np.zeros_like(answers)
    judged = np.zeros(len(said), dtype=bool)
    for fold in range(FOLDS):
        held, learn = folds == fold, folds != fold
        if held.any() and learn.any():
            spread = _spread(graph, known[learn], answers[learn])[known[held]]
            told[held] = _shares(spread, answers[learn])
            straight[held] = linear_model(embeddings[learn], said[learn], classes)(embeddings[held])
            judged |= held & judges
    if not judged.any():
        return 0.0, 0.0
    doubt = 1 / (judged.sum() + 2)  # as if one more had been guessed wrong
    target = (1 - doubt) * answers[judged] + doubt / classes

    def cost(near: float, far: float) -> float:
        guessed = _believed(told[judged], straight[judged], (near, far))
        return float(-(target * np.log(guessed)).sum())

    costs = {(near, far): cost(near, far) for near in BELIEFS for far in BELIEFS if near or far}
    near, far = min(costs, key=costs.__getitem__)
    enough = costs[near, far] + MODEST
    less = next(part for part in LESS if part == 1 or cost(part * near, part * far) <= enough)
    return less * near, less * far


def _believed(told: np.ndarray, straight: np.ndarray, beliefs: tuple[float, float]) -> np.ndarray:
    """What both witnesses make together: the product of their probabilities, each to a power."""
    logs = np.zeros(told.shape)
    for said, belief in zip((told, straight), beliefs, strict=True):
        logs += belief * np.log((1 - FLOOR) * said + FLOOR / said.shape[1])
    odds = np.exp(logs - logs.max(axis=1, keepdims=True))
    probs = odds / odds.sum(axis=1, keepdims=True)
    return np.asarray((1 - FLOOR) * probs + FLOOR / probs.shape[1], dtype=np.float32)
