"""Whether another runtime gives a model's answers: the same labels, confidences and calibration.

All of it is measured without a truth. The expected calibration error cannot change by more than the
mean change of the confidences and the share of other labels together; the log loss is expected to
change by the Kullback-Leibler divergence where the reference is calibrated.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from models.kinds.kind import Kind

if TYPE_CHECKING:
    from models.scoring.predict import Predictions

SAME_LABEL = 0.999  # of the images at least; below 1,000 images: all
PROBABILITY = 0.02  # the largest difference of any probability of any image
CALIBRATION = 0.005  # of the expected calibration error, at most
LOG_LOSS = 0.001  # nats an image
EMBEDDING = 0.05  # the length of the difference by the length of the embedding
_TINY = 1e-12


@dataclass(frozen=True)
class Agreement:
    """How far a runtime's predictions are from those of eager torch, over some images."""

    images: int
    same_label: float  # share of the images
    probability: float  # the largest difference
    calibration: float  # the most that the expected calibration error can differ by
    log_loss: float  # the mean Kullback-Leibler divergence
    embedding: float  # the largest relative difference

    def problem(self) -> str | None:
        """Why the runtime may not answer in the place of torch; None when it may."""
        if self.same_label < SAME_LABEL:
            return f"the same label for {self.same_label:.2%} of {self.images:,} images only"
        bounds = {
            "probabilities": (self.probability, PROBABILITY),
            "the calibration error": (self.calibration, CALIBRATION),
            "the log loss": (self.log_loss, LOG_LOSS),
            "embeddings": (self.embedding, EMBEDDING),
        }
        over = [
            f"{name}: {value:.3g} apart, {bound:g} is the limit"
            for name, (value, bound) in bounds.items()
            if not value <= bound
        ]
        return over[0] if over else None


def compare(
    reference: "Predictions", other: "Predictions", kind: Kind, classes: Sequence[str]
) -> Agreement:
    """The agreement of `other` with `reference`, of the same images in the same order."""
    if reference.outputs.shape != other.outputs.shape or not len(reference):
        raise ValueError(
            f"outputs {other.outputs.shape} cannot be compared with {reference.outputs.shape}"
        )
    answers = kind.answers(reference.outputs, classes), kind.answers(other.outputs, classes)
    pairs = list(zip(*answers, strict=True))
    same = float(np.mean([mine.label == theirs.label for mine, theirs in pairs]))
    confidence = float(np.mean([abs(one.confidence - two.confidence) for one, two in pairs]))
    expected, given = (
        np.asarray(kind.probabilities(one.outputs, classes), np.float64)
        for one in (reference, other)
    )
    divergence = expected * (np.log(expected + _TINY) - np.log(given + _TINY))
    apart = np.linalg.norm(other.embeddings - reference.embeddings, axis=1)
    length = np.linalg.norm(reference.embeddings, axis=1) + _TINY
    return Agreement(
        images=len(reference),
        same_label=same,
        probability=float(np.abs(expected - given).max()),
        calibration=confidence + 1 - same,
        log_loss=max(0.0, float(divergence.sum(axis=1).mean())),
        embedding=float((apart / length).max()),
    )
