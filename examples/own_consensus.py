"""A consensus method of your own: the annotators' votes, each weighted by agreement with the rest.

A method takes `Votes` and returns a row for each sample with its label and its trust:
`python examples/own_consensus.py` compares it with the built-in methods.
"""

import numpy as np
import pandas as pd

from labeling.consensus import METHODS
from labeling.consensus.settle import SettlePolicy, settle
from labeling.consensus.votes import Votes
from labeling.simulation import Annotator, simulate_answers

CLASSES = ["cat", "dog", "neither"]
CROWD = [
    Annotator("ada", error_rate=0.05),
    Annotator("ben", error_rate=0.10),
    Annotator("cleo", error_rate=0.60),
]


def agreement(votes: Votes) -> pd.DataFrame:
    """The class with the largest sum of weights: how often its voter leads the tally."""
    leading = votes.tally().argmax(axis=1)
    agrees = leading[votes.sample] == votes.class_index
    count = np.bincount(votes.annotator, minlength=len(votes.annotators))
    weight = np.bincount(votes.annotator, weights=agrees, minlength=len(votes.annotators)) / count
    belief = np.full((len(votes.samples), votes.width), 1e-6)
    np.add.at(belief, (votes.sample, votes.class_index), weight[votes.annotator])
    return votes.proposals(belief / belief.sum(axis=1, keepdims=True))


# In the project this is one more line of METHODS, and `method = "agreement"` in hone.toml. Its test
# there asks for a trust of `votes.expected_accuracy()` where one unknown annotator answered alone.
METHODS["agreement"] = agreement


def main() -> None:
    """Settle 300 samples with three answers each; print how many labels are right."""
    rng = np.random.default_rng(0)
    truths = pd.Series(rng.choice(CLASSES, 300), index=[f"sample-{n:03d}" for n in range(300)])
    answers = simulate_answers(truths, CLASSES, CROWD, seed=0)
    answers["seq"] = range(len(answers))
    for method in METHODS:
        policy = SettlePolicy(method=method, threshold=0.0)
        labels = settle(answers, policy, classes=CLASSES).dropna(subset="label")
        right = (labels["label"] == truths.loc[labels["sample_id"]].to_numpy()).mean()
        print(f"{method:12} {len(labels):3} labels, {right:.3f} right")


if __name__ == "__main__":
    main()
