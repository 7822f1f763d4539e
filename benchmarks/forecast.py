"""How far off is the forecast of `hone budget` where the future is known?

    .venv/bin/python benchmarks/forecast.py [--seeds 10] [--json]

scikit-learn's digits: small networks (one hidden layer on the pixels) are trained in rounds of 50
random labels, and the cheap head stands on a network with random weights. After each round the
forecast for 100, 200 and 400 more labels is made from what is known then (an audit of 200, drawn at
random, and the models so far), and compared with what comes: the mean accuracy of five networks
trained with so many labels, over all digits that are neither labelled nor audited. Beside it, the
forecast of who expects no change. Three minutes on one core, with OMP_NUM_THREADS=1 in the
environment: the networks are so small that threads only wait for each other.
"""

import argparse
import json
import warnings
from typing import Any

import numpy as np
import pandas as pd
from sklearn.datasets import load_digits
from sklearn.exceptions import ConvergenceWarning
from sklearn.neural_network import MLPClassifier

from labeling.budget.learning_curve import CurveData, LearningCurve, learning_curve
from labeling.budget.subset_curve import subset_errors

BATCH, ROUNDS, AUDIT, ALWAYS = 50, 8, 200, 5
AHEAD = (100, 200, 400)


def main() -> None:
    """Play every seed; print a line for each forecast, or the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seeds", type=int, default=10)
    parser.add_argument("--json", action="store_true")
    asked = parser.parse_args()
    warnings.simplefilter("ignore", ConvergenceWarning)
    rows = []
    for seed in range(asked.seeds):
        rows += play(seed)
        if asked.json:
            print("\n".join(json.dumps(row) for row in rows[-ROUNDS * len(AHEAD) :]), flush=True)
    table = pd.DataFrame(rows)
    print(" models  more |  gain: forecast  came  off  held |  accuracy: off  no change  held")
    for (models, more), some in table.groupby(["models", "more"]):
        gains = (
            f"{some['gain'].mean():.3f} {some['came_gain'].mean():.3f} "
            f"{(some['gain'] - some['came_gain']).abs().mean():.3f} {some['gain_held'].mean():.2f}"
        )
        print(
            f"{models:>7} {more:>5} | {gains} | {some['off'].abs().mean():.3f} "
            f"{some['no_change'].abs().mean():.3f} {some['held'].mean():.2f}"
        )
    print(
        f"all: accuracy off by {table['off'].abs().mean():.3f}, who expects no change by "
        f"{table['no_change'].abs().mean():.3f}; its bounds held {table['held'].mean():.2f}, those "
        f"of the gain {table['gain_held'].mean():.2f}"
    )


def play(seed: int) -> list[dict[str, Any]]:
    """Every forecast of one history, and what came."""
    rng = np.random.default_rng(seed)
    images, truths = load_digits(return_X_y=True)
    order = rng.permutation(len(truths))
    images, truths = images[order] / 16, truths[order]
    audit, rest = slice(0, AUDIT), slice(AUDIT + BATCH * ROUNDS + max(AHEAD), None)
    features = np.maximum(images @ rng.normal(size=(64, 256)) + rng.normal(size=256), 0)
    numbers = list(range(BATCH, BATCH * ROUNDS + max(AHEAD) + 1, BATCH))
    came, own = {}, {}
    for labels in numbers:
        taught = slice(AUDIT, AUDIT + labels)
        nets = [_network(images[taught], truths[taught], 10 * seed + one) for one in range(ALWAYS)]
        came[labels] = float(np.mean([net.score(images[rest], truths[rest]) for net in nets]))
        own[labels] = nets[0].predict(images[audit]) != truths[audit]
    rows = []
    for models in range(1, ROUNDS + 1):
        labels = BATCH * models
        taught = slice(AUDIT, AUDIT + labels)
        sizes, mistaken = subset_errors(
            features[taught], [str(one) for one in truths[taught]], features[audit],
            [str(one) for one in truths[audit]], rng,
        )  # fmt: skip
        known = numbers[:models]
        curve = learning_curve(
            CurveData(
                np.array(known), np.array([own[one] for one in known]), sizes, mistaken
            ),
            rng,
        )  # fmt: skip
        rows += [_row(curve, seed, models, labels, more, came, own) for more in AHEAD]
    return rows


def _row(
    curve: LearningCurve,
    seed: int,
    models: int,
    labels: int,
    more: int,
    came: dict[int, float],
    own: dict[int, np.ndarray],
) -> dict[str, Any]:
    ahead, then = curve.forecast(labels + more), came[labels + more]
    gain = then - came[labels]
    return {
        "seed": seed, "models": models, "labels": labels, "more": more, "came": then,
        "gain": ahead.gain, "came_gain": gain,
        "gain_held": bool(ahead.gain_low <= gain <= ahead.gain_high),
        "off": ahead.accuracy - then, "held": bool(ahead.low <= then <= ahead.high),
        "no_change": float(1 - own[labels].mean() - then),
    }  # fmt: skip


def _network(rows: np.ndarray, truths: np.ndarray, seed: int) -> MLPClassifier:
    return MLPClassifier((64,), alpha=0.01, max_iter=150, random_state=seed).fit(rows, truths)


if __name__ == "__main__":
    main()
