"""A labelling campaign in simulation: how accurate a head gets with each strategy.

scikit-learn's digits, a pool of 1,200 and a test set of 597; annotators are wrong in 5 % of their
answers. Change the strategies, the batch or the annotators to plan a campaign of your own:
`python examples/simulate_campaign.py`.
"""

import numpy as np
import pandas as pd
from sklearn.datasets import load_digits
from sklearn.linear_model import LogisticRegression

from labeling.simulation import Annotator, simulate_answers
from labeling.strategies import STRATEGIES, Pool

BATCH, ROUNDS = 20, 4
CLASSES = [str(n) for n in range(10)]
ANNOTATORS = [Annotator("ada", error_rate=0.05)]


def campaign(strategy: str, seed: int) -> list[float]:
    """Test accuracy after each round."""
    images, targets = load_digits(return_X_y=True)
    embeddings, truths = (images / 16).astype(np.float32), targets.astype(str)
    pool, test = np.arange(1200), np.arange(1200, len(truths))
    rng = np.random.default_rng(seed)
    labels: dict[int, str] = {}
    probs, scores = None, []
    for _ in range(ROUNDS):
        asked = np.array(sorted(labels), dtype=int)
        known = Pool(
            probs=probs,
            embeddings=embeddings[pool],
            labelled=embeddings[asked],
            labels=np.array([CLASSES.index(labels[row]) for row in asked], dtype=int),
            allowed=~np.isin(pool, asked),
        )
        name = strategy if probs is not None else "coverage"  # no predictions yet
        rows = STRATEGIES[name].choose(known, BATCH, rng).rows
        asked_truths = pd.Series(truths[rows], index=[str(row) for row in rows])
        answers = simulate_answers(asked_truths, CLASSES, ANNOTATORS, seed=seed)
        labels |= {int(row.sample_id): row.value for row in answers.itertuples()}
        head = LogisticRegression(max_iter=100).fit(embeddings[list(labels)], list(labels.values()))
        probs = np.zeros((len(pool), len(CLASSES)))
        probs[:, [CLASSES.index(name) for name in head.classes_]] = head.predict_proba(
            embeddings[pool]
        )
        scores.append(float(head.score(embeddings[test], truths[test])))
    return scores


def main() -> None:
    """Print the accuracy of each strategy after each round, the mean of two seeds."""
    print("labels          " + "  ".join(f"{BATCH * n:5d}" for n in range(1, ROUNDS + 1)))
    for strategy in ("random", "margin", "auto"):
        scores = np.mean([campaign(strategy, seed) for seed in range(2)], axis=0)
        print(f"{strategy:16}" + "  ".join(f"{score:.3f}" for score in scores))


if __name__ == "__main__":
    main()
