"""How far each person can be believed, by their answers to samples whose class is known."""

import numpy as np
import pandas as pd

PRIOR = 4.0  # good answers granted to everybody: one unlucky batch of gold is not the whole person
LEAST = 0.01  # of a vote: somebody who guesses is outvoted by anybody, and never dropped


def gold_accuracy_of(votes: pd.DataFrame, gold: pd.Series) -> pd.DataFrame:
    """A row per annotator: gold samples answered (`judged`), how many `right`, and `accuracy`.

    `votes` has sample_id, annotator and value, one answer per person and sample; `gold` maps
    sample_id to class. Accuracy is missing where nothing was judged.
    """
    truth = votes["sample_id"].map(gold)
    marks = pd.DataFrame(
        {"judged": truth.notna(), "right": truth.notna() & (votes["value"] == truth)}
    )
    seen = marks.groupby(votes["annotator"], sort=True).sum().astype(int)
    seen["accuracy"] = seen["right"] / seen["judged"].where(seen["judged"] > 0)
    return seen


def vote_weights(
    seen: pd.DataFrame, *, gold_needed: int, gold_accuracy: float, assumed_error: float
) -> pd.Series:
    """What one vote of each annotator of `seen` (`on_gold`) counts: in (0, 1], 1 for the unknown.

    Below 1 only for somebody with `gold_needed` answers or more to gold and under `gold_accuracy`
    there: the log-odds of that accuracy in units of the log-odds of a person nothing is known
    about, which is how much each vote proves. With an error of 0.05: 0.36 for 14 of 20 right, 0.10
    for 10 of 20.
    """
    right = (seen["right"] + PRIOR * (1 - assumed_error)) / (seen["judged"] + PRIOR)
    proof = np.log(right / (1 - right)) / np.log((1 - assumed_error) / assumed_error)
    failed = (seen["judged"] >= gold_needed) & (seen["accuracy"] < gold_accuracy)
    return proof.clip(LEAST, 1.0).where(failed, 1.0).rename("weight")
