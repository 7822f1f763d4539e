"""A linear head on features: multinomial logistic regression, trained to its optimum.

The loss is the weighted sum of the cross-entropies plus the squared weights / (2 STRENGTH).
Features of length one make the strength independent of the network behind them.
"""

from dataclasses import dataclass

import numpy as np

STRENGTH = 10.0  # how little the weights are held back
ITERATIONS = 200  # of L-BFGS, at most
BLOCK = 16_384  # rows predicted at a time


@dataclass(frozen=True)
class Head:
    """Weights [width + 1, classes], the bias in the last row."""

    weights: np.ndarray

    def probs(self, features: np.ndarray) -> np.ndarray:
        """Class probabilities of any rows, float32 [n, classes]."""
        probs = np.empty((len(features), self.weights.shape[1]), np.float32)
        for start in range(0, len(features), BLOCK):
            part = slice(start, start + BLOCK)
            logits = features[part].astype(np.float32) @ self.weights[:-1] + self.weights[-1]
            probs[part] = softmax(logits)[0]
        return probs


def fit_head(
    features: np.ndarray,
    targets: np.ndarray,
    weights: np.ndarray | None = None,
    *,
    start: Head | None = None,
    strength: float = STRENGTH,
) -> Head:
    """The head for rows of class probabilities [n, classes], each row with its weight.

    `start` is where the search begins; the optimum does not depend on it.
    """
    from scipy.optimize import minimize

    inputs = np.hstack([features, np.ones((len(features), 1))]).astype(np.float32)
    truth = np.asarray(targets, np.float32)
    scale = np.ones(len(inputs)) if weights is None else np.asarray(weights)
    scale = scale.astype(np.float32)
    shape = inputs.shape[1], truth.shape[1]
    first = np.zeros(shape) if start is None else start.weights

    def loss(flat: np.ndarray) -> tuple[float, np.ndarray]:
        now = flat.reshape(shape).astype(np.float32)
        logits = inputs @ now
        probs, total = softmax(logits)
        missed = scale @ (total * truth.sum(axis=1) - np.einsum("ij,ij->i", logits, truth))
        slope = inputs.T @ ((probs - truth) * scale[:, None]) + now / strength
        return float(missed + (now**2).sum() / 2 / strength), slope.ravel().astype(float)

    options = {"maxiter": ITERATIONS, "ftol": 1e-6, "gtol": 1e-3}
    fitted = minimize(loss, first.ravel(), jac=True, method="L-BFGS-B", options=options)
    return Head(fitted.x.reshape(shape).astype(np.float32))


def softmax(logits: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Probabilities of each row, and the logarithm of what they were divided by."""
    top = logits.max(axis=1, keepdims=True)
    powers = np.exp(logits - top)
    total = powers.sum(axis=1, keepdims=True)
    return powers / total, (top + np.log(total))[:, 0]
