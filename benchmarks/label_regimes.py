"""Four ways in which labels are scarce, and one head that is trained on whatever was labelled."""

from dataclasses import dataclass

import numpy as np

ASIDE = 5_000  # images of the pool's side kept for development: in no pool, in no reported test
STRENGTH = 10.0  # how little the head's weights are held back: see `Head`


@dataclass(frozen=True)
class Regime:
    """How many labels one begins with (drawn at random, the same for all), adds, and may have."""

    name: str
    start: int
    batch: int
    budget: int
    pool: int

    @property
    def steps(self) -> list[int]:
        """The numbers of labels at which accuracy is read."""
        return list(range(self.start, self.budget + 1, self.batch))


REGIMES = (
    Regime("low", start=0, batch=10, budget=200, pool=10_000),
    Regime("mid", start=100, batch=100, budget=2_500, pool=20_000),
    Regime("longtail", start=100, batch=50, budget=1_300, pool=0),  # as many as the tail leaves
    Regime("redundant", start=100, batch=100, budget=1_600, pool=3_000),  # images; ten copies each
)
NETWORK_REGIMES = (  # fewer steps: each of them trains a network
    Regime("low", start=0, batch=50, budget=200, pool=10_000),
    Regime("mid", start=250, batch=250, budget=2_500, pool=10_000),
    Regime("longtail", start=200, batch=200, budget=1_400, pool=0),
    Regime("redundant", start=200, batch=200, budget=1_600, pool=2_000),
)
IMBALANCE = 100
COPIES = 10


@dataclass(frozen=True)
class Sea:
    """All there is of the pool's side and of the test, and near copies; features, or images."""

    features: np.ndarray  # [n, ...], the pool's side
    classes: np.ndarray
    test_features: np.ndarray
    test_classes: np.ndarray
    copies: np.ndarray  # [images, COPIES, ...]
    copied: np.ndarray  # [images]: their rows in `features`


@dataclass(frozen=True)
class Field:
    """One game: what may be chosen from, and what says how well it went."""

    features: np.ndarray
    classes: np.ndarray
    test_features: np.ndarray
    test_classes: np.ndarray
    start: np.ndarray  # rows that are labelled before anyone chooses


def field_of(sea: Sea, regime: Regime, seed: int) -> Field:
    """The pool that this seed draws, and its first labels."""
    rng = np.random.default_rng([seed, 7])
    if regime.name == "redundant":
        drawn = np.sort(rng.choice(len(sea.copied), regime.pool, replace=False))
        features = sea.copies[drawn].reshape(-1, *sea.features.shape[1:])
        classes = np.repeat(sea.classes[sea.copied[drawn]], COPIES)
    else:
        rows = _tail(sea, rng) if regime.name == "longtail" else np.arange(len(sea.classes))
        rows = np.sort(rng.permutation(rows)[: regime.pool or None])
        features, classes = sea.features[rows], sea.classes[rows]
    start = rng.permutation(len(classes))[: regime.start]
    return Field(features, classes, sea.test_features, sea.test_classes, start)


def _tail(sea: Sea, rng: np.random.Generator) -> np.ndarray:
    """Rows of which the commonest class has IMBALANCE times as many as the rarest."""
    classes = sea.classes.max() + 1
    most = np.bincount(sea.classes).min()
    counts = (most * IMBALANCE ** (-np.arange(classes) / (classes - 1))).astype(int)
    rows = []
    for name, count in zip(rng.permutation(classes), counts, strict=True):
        rows.append(rng.permutation(np.flatnonzero(sea.classes == name))[:count])
    return np.concatenate(rows)


class Head:
    """Multinomial logistic regression, trained to its optimum by L-BFGS from where it last was.

    The loss is the sum over labels of the cross-entropy plus the squared weights / (2 STRENGTH);
    features come with length one, so the strength does not hang on the network that made them.
    """

    def __init__(self, classes: int) -> None:
        self.classes = classes
        self.weights = np.zeros((0, classes))

    @property
    def head(self) -> "Head":
        """Itself: there is no more to it."""
        return self

    def fit(self, features: np.ndarray, labels: np.ndarray) -> "Head":
        """Train on these; itself comes back."""
        from scipy.optimize import minimize

        seen = _with_one(features)
        truth = np.eye(self.classes, dtype=np.float32)[labels]
        if not len(self.weights):
            self.weights = np.zeros((seen.shape[1], self.classes))

        def loss(flat: np.ndarray) -> tuple[float, np.ndarray]:
            weights = flat.reshape(self.weights.shape).astype(np.float32)
            logits = seen @ weights
            probs, total = _softmax(logits)
            missed = (total - np.einsum("ij,ij->i", logits, truth)).sum()
            slope = seen.T @ (probs - truth) + weights / STRENGTH
            return float(missed + (weights**2).sum() / 2 / STRENGTH), slope.ravel().astype(float)

        if len(labels):
            found = minimize(loss, self.weights.ravel(), jac=True, method="L-BFGS-B",
                             options={"maxiter": 200, "ftol": 1e-6, "gtol": 1e-3})  # fmt: skip
            self.weights = found.x.reshape(self.weights.shape)
        return self

    def probs(self, features: np.ndarray) -> np.ndarray:
        """float64 [n, classes]; all alike before the first label."""
        if not len(self.weights):
            return np.full((len(features), self.classes), 1 / self.classes)
        probs = _softmax(_with_one(features) @ self.weights.astype(np.float32))[0]
        return probs.astype(np.float64) / probs.sum(axis=1, dtype=np.float64, keepdims=True)

    def embed(self, features: np.ndarray) -> np.ndarray:
        """What it sees: the features as they are."""
        return features

    def draws(self, features: np.ndarray, looks: int, rng: np.random.Generator) -> np.ndarray:
        """What it says [looks, n, classes] with half of the features left out at random."""
        kept = rng.random((looks, features.shape[1])) < 0.5
        return np.stack([self.probs(features * (2 * keep).astype(np.float32)) for keep in kept])


def _with_one(features: np.ndarray) -> np.ndarray:
    return np.hstack([features, np.ones((len(features), 1), np.float32)])


def _softmax(logits: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Probabilities, and the logarithm of what they were divided by."""
    top = logits.max(axis=1, keepdims=True)
    powers = np.exp(logits - top)
    total = powers.sum(axis=1, keepdims=True)
    return powers / total, (top + np.log(total))[:, 0]
