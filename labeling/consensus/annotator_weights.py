"""How much each annotator's vote counts, by their answers to samples whose class is known."""

import numpy as np
import pandas as pd

PRIOR = 4.0  # right answers added for everybody: one unlucky batch of gold does not decide
LEAST = (
    0.01  # the least weight of a vote: a random annotator is outvoted by any other, and not dropped
)


def gold_accuracy_of(votes: pd.DataFrame, gold: pd.Series) -> pd.DataFrame:
    """A row per annotator: gold samples answered (`judged`), how many `right`, and `accuracy`.

    `votes` has sample_id, annotator and value, one answer per annotator and sample; `gold` maps
    sample_id to class. Accuracy is missing where nothing was judged.
    """
    truth = votes["sample_id"].map(gold)
    marks = pd.DataFrame(
        {"judged": truth.notna(), "right": truth.notna() & (votes["value"] == truth)}
    )
    figures = marks.groupby(votes["annotator"], sort=True).sum().astype(int)
    figures["accuracy"] = figures["right"] / figures["judged"].where(figures["judged"] > 0)
    return figures


def vote_weights(
    figures: pd.DataFrame, *, gold_needed: int, gold_accuracy: float, assumed_error: float
) -> pd.Series:
    """What a vote of each annotator of `figures` (`gold_accuracy_of`) counts, in (0, 1].

    Below 1 only for somebody with `gold_needed` answers or more to gold and under `gold_accuracy`
    there: the log-odds of that accuracy in units of the log-odds of an annotator nothing is known
    about, which is how much each vote proves. With an error of 0.05: 0.36 for 14 of 20 right, 0.10
    for 10 of 20.
    """
    right = (figures["right"] + PRIOR * (1 - assumed_error)) / (figures["judged"] + PRIOR)
    proof = np.log(right / (1 - right)) / np.log((1 - assumed_error) / assumed_error)
    failed = (figures["judged"] >= gold_needed) & (figures["accuracy"] < gold_accuracy)
    return proof.clip(LEAST, 1.0).where(failed, 1.0).rename("weight")
