"""Duels of real networks: retrained with another seed, or with more labels.

Every model is trained on one half of the images and judged on the other, so that its true accuracy
is known. Predictions are kept in a file; duels are played from them.
"""

import warnings
from collections.abc import Callable, Iterator
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.duels.play import MOST, SCORED, play
from benchmarks.duels.rules import mcnemar_rule
from models.judging.alpha_spending import alpha_of

TIMES = (1.0, 1.25, 1.5, 2.0, 4.0)  # as many labels as the champion has
SEEDS = 12
DUELS = 20  # orders of drawing for each pair
AUDITS = (100, 400, 1000)
BOUNDS = (-1, -0.02, -0.01, 0, 0.01, 0.02, 0.05, 1)  # of the true gain
Train = Callable[[np.ndarray, np.ndarray, int], Any]


def predictions(
    features: np.ndarray, classes: np.ndarray, labels: int, train: Train, cache: Path
) -> dict[str, np.ndarray]:
    """What each model answers on the half it never learns from, and that half's classes."""
    if not cache.exists():
        half = np.random.default_rng(0).permutation(len(classes))
        taught, judged = np.array_split(half, 2)
        answers = []
        for times in TIMES:
            for seed in range(SEEDS):
                rng = np.random.default_rng([seed, int(100 * times)])
                rows = rng.choice(taught, int(labels * times), replace=False)
                model = train(features[rows], classes[rows], seed)
                answers.append(model.predict(features[judged]).astype(np.int8))
        np.savez(cache, answers=np.stack(answers), classes=classes[judged].astype(np.int8))
    with np.load(cache) as stored:
        return dict(stored)


def digits(cache: Path) -> dict[str, np.ndarray]:
    """Small networks on scikit-learn's digits."""
    from sklearn.datasets import load_digits

    images, classes = load_digits(return_X_y=True)
    return predictions(images / 16, classes, 150, _network, cache / "verdicts-digits.npz")


def pictures(source: Path, cache: Path) -> dict[str, np.ndarray]:
    """Small networks on gradients and colours of images, from a ZIP or `<class>/<file>`."""
    place = cache / "verdicts-pictures.npz"
    if place.exists():
        return predictions(np.empty(0), np.empty(0), 0, _network, place)
    from benchmarks.labels.sets import image_set
    from benchmarks.labels.simclr import squares

    pictures = image_set(str(source))
    images, classes = squares(pictures.read(pictures.rows)), pictures.classes
    return predictions(gradients_and_colours(images), classes, 600, _network, place)


def _network(rows: np.ndarray, classes: np.ndarray, seed: int) -> Any:
    from sklearn.exceptions import ConvergenceWarning
    from sklearn.neural_network import MLPClassifier

    warnings.simplefilter("ignore", ConvergenceWarning)  # 100 passes are a network, too
    return MLPClassifier((64,), alpha=0.1, max_iter=100, random_state=seed).fit(rows, classes)


def gradients_and_colours(images: np.ndarray, cells: int = 4, directions: int = 8) -> np.ndarray:
    """How strong edges of each direction are in each cell of the image, and its mean colour."""
    parts = [_features(images[row : row + 2000], cells, directions)
             for row in range(0, len(images), 2000)]  # fmt: skip
    features = np.concatenate(parts)
    return np.asarray((features - features.mean(axis=0)) / (features.std(axis=0) + 1e-6))


def _features(images: np.ndarray, cells: int, directions: int) -> np.ndarray:
    pixels = images.astype(np.float32) / 255
    grey, size = pixels.mean(axis=3), images.shape[1] // cells
    down, right = np.gradient(grey, axis=(1, 2))
    turn = np.floor((np.arctan2(down, right) % np.pi) / np.pi * directions).astype(int) % directions
    strength = np.hypot(down, right)
    maps = [np.where(turn == direction, strength, 0) for direction in range(directions)]
    maps += [pixels[..., colour] for colour in range(3)]
    blocks = np.stack(maps, axis=1).reshape(len(images), -1, cells, size, cells, size)
    return np.sqrt(blocks.mean(axis=(3, 5))).reshape(len(images), -1)


def duels_of(stored: dict[str, np.ndarray], number: int) -> Iterator[dict[str, Any]]:
    """Outcomes of all pairs, by the true gain of the challenger."""
    right = stored["answers"] == stored["classes"]
    pairs = [(one, other) for one in range(SEEDS) for other in range(len(right)) if one != other]
    rng = np.random.default_rng(number)
    gains, outcomes = [], []
    for champion, challenger in pairs:
        differ = stored["answers"][champion] != stored["answers"][challenger]
        gains.append(right[challenger].mean() - right[champion].mean())
        outcomes.append(_outcomes(rng, right[challenger], right[champion], differ, number))
    gain, outcome = np.array(gains), np.array(outcomes)
    names = ["disagree", "promoted", "rejected", "answers"] + [f"audit {rows}" for rows in AUDITS]
    for low, high in pairwise(BOUNDS):
        within = (gain > low) & (gain <= high)
        if within.any():
            means = dict(zip(names, outcome[within].mean(axis=0).tolist(), strict=True))
            yield {"gain above": low, "up to": high, "pairs": int(within.sum()), **means}


def _outcomes(
    rng: np.random.Generator,
    challenger: np.ndarray,
    champion: np.ndarray,
    differ: np.ndarray,
    number: int,
) -> list[float]:
    values, scored = challenger.astype(int) - champion, min(SCORED, len(differ))
    alpha = np.full(DUELS, alpha_of(number))
    answers, disagreements = np.zeros((DUELS, MOST), int), []
    for row in answers:
        sample = rng.choice(len(values), scored, replace=False)
        asked = sample[differ[sample]]
        row[: len(asked)] = values[asked[:MOST]]
        disagreements.append(len(asked))
    played = play(answers, alpha, np.array(disagreements), scored=scored)
    shares = []
    for rows in AUDITS:
        audit = values[np.array([rng.permutation(len(values))[:rows] for _ in range(DUELS)])]
        wins, losses = (audit == 1).sum(axis=1), (audit == -1).sum(axis=1)
        shares.append(float(mcnemar_rule(wins, losses, alpha).mean()))
    return [float(differ.mean()), float(played.promoted.mean()),
            float(played.rejected.mean()), float(played.answers.mean()), *shares]  # fmt: skip
