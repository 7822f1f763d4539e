"""Many answers, one label, or "ask again".

A method sees all votes at once and proposes a label with its trust for each sample; `settle`
decides whether that is enough. A new method is a function and a line in `METHODS`.
"""

from collections.abc import Callable
from dataclasses import dataclass

import pandas as pd

LABEL_COLUMNS = ["sample_id", "label", "trust", "annotators", "answers", "method"]


@dataclass(frozen=True)
class SettlePolicy:
    """When answers are a label."""

    answers_needed: int = 1  # people who must have answered; each more costs labels per hour
    threshold: float = 0.9  # one careful answer, or a majority of one, is enough; a tie never is
    assumed_error: float = 0.05  # of a person nothing is known about; 3 % and more is usual
    method: str = "majority"

    def __post_init__(self) -> None:
        if self.answers_needed < 1:
            raise ValueError(f"answers_needed is {self.answers_needed}; a label needs at least 1")
        if not 0 <= self.threshold < 1:
            raise ValueError(f"threshold is {self.threshold}; choose from 0 to below 1")
        if not 0 < self.assumed_error < 0.5:
            raise ValueError(f"assumed_error is {self.assumed_error}; choose between 0 and 0.5")
        if self.method not in METHODS:
            raise ValueError(f"method is {self.method!r}; choose from {', '.join(METHODS)}")


def settle(answers: pd.DataFrame, policy: SettlePolicy) -> pd.DataFrame:
    """The label of each sample with its trust; a missing label means: ask again.

    `answers` has seq, sample_id, annotator and value (missing for a skip). The latest answer of a
    person counts, once; a sample with skips only is left out. Rows come sorted by sample, and
    `annotators` and `answers` by annotator; the order of answers never breaks a tie.
    """
    votes = latest_answers(answers)
    proposed = METHODS[policy.method](votes, policy)
    people = votes.groupby("sample_id", sort=True).agg(
        annotators=("annotator", list), answers=("seq", list)
    )
    labels = people.join(proposed).reset_index()
    enough = (labels["annotators"].map(len) >= policy.answers_needed) & (
        labels["trust"] >= policy.threshold
    )
    labels["label"] = labels["label"].astype(object).where(enough & labels["label"].notna(), None)
    labels["method"] = policy.method
    return labels[LABEL_COLUMNS]


def latest_answers(answers: pd.DataFrame) -> pd.DataFrame:
    """The last word of each person on each sample, skips left out, sorted."""
    newest = answers.sort_values("seq").drop_duplicates(["sample_id", "annotator"], keep="last")
    given = newest[newest["value"].notna()]
    return given.sort_values(["sample_id", "annotator"], ignore_index=True)


def majority(votes: pd.DataFrame, policy: SettlePolicy) -> pd.DataFrame:
    """The class with the most votes, none for a tie, and its trust; one row per sample.

    Trust is the probability that the class is right if everybody errs independently with
    probability e = assumed_error and all mistakes fall on the same class (the worst case):
    r^v / (1 + sum over the classes named of r^votes), r = (1 - e) / e, v its votes, and the 1 for
    a class that nobody named. With e = 0.05: one answer 0.95, two that agree 0.997, a majority of
    one 0.95, a tie of two 0.49.
    """
    counts = votes.groupby(["sample_id", "value"], as_index=False).size()
    counts["most"] = counts.groupby("sample_id")["size"].transform("max")
    odds = (1 - policy.assumed_error) / policy.assumed_error
    # All weights are divided by the leader's, so that many votes do not overflow.
    counts["weight"] = odds ** (counts["size"] - counts["most"]).astype(float)
    leaders = counts[counts["size"] == counts["most"]].groupby("sample_id")
    first = leaders.agg(label=("value", "first"), tied=("value", "size"), most=("most", "first"))
    nobody = odds ** -first["most"].astype(float)
    trust = 1 / (counts.groupby("sample_id")["weight"].sum() + nobody)
    label = first["label"].astype(object).where(first["tied"] == 1, None)
    return pd.DataFrame({"label": label, "trust": trust})


METHODS: dict[str, Callable[[pd.DataFrame, SettlePolicy], pd.DataFrame]] = {"majority": majority}
