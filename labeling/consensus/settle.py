"""Many answers, one label, or "ask again".

A method sees all evidence at once and proposes a label with its trust for each sample; `settle`
decides whether that is enough. `METHODS` has every method.
"""

from collections.abc import Sequence
from typing import Annotated

import numpy as np
import pandas as pd
from pydantic import Field

from core.configuration import OneOf, configuration
from labeling.consensus import METHODS
from labeling.consensus.annotator_weights import gold_accuracy_of, vote_weights
from labeling.consensus.votes import TIE, Votes, gather_votes, latest_answers

LABEL_COLUMNS = ["sample_id", "label", "trust", "annotators", "answers", "method"]
VERDICT = "verdict"  # an answer that somebody starred: the final word
VERDICT_TRUST = 0.999  # adjudicators err too


@configuration("settling")
class SettlePolicy:
    """When answers are a label."""

    answers_needed: int = Field(
        default=1, ge=1, description="annotators who must have answered before a label is settled"
    )
    threshold: float = Field(  # one careful answer, or a majority of one, is enough; a tie never is
        default=0.9, ge=0, lt=1, description="least probability that the label is right"
    )
    assumed_error: float = Field(  # 3 % and more is usual
        default=0.05,
        gt=0,
        lt=0.5,
        description="error rate of an annotator of whom nothing is known",
    )
    # benchmarks/crowds.py, 40 crowds with a sloppy or spamming annotator: bayes beats majority in
    # all of them, by 15 points in the mean and within 1 of the best possible, and its trust is
    # calibrated where there is a model (of 0.93, 90 %). With few answers it is majority.
    method: Annotated[str, OneOf(METHODS)] = Field(
        default="bayes", description="how the answers of several annotators are combined"
    )
    ask_again: int = Field(
        default=2,
        ge=0,
        description="additional annotators asked where answers disagree, before it is disputed",
    )
    # One in a hundred of those who are right in 95 % fails here by bad luck, and loses little;
    # three in four of those who are right in 65 % are noticed at ten answers, more with each.
    gold_needed: int = Field(
        default=10, ge=1, description="answers to gold samples before an annotator is judged"
    )
    gold_accuracy: float = Field(
        default=0.8, ge=0, le=1, description="least accuracy on gold; below, answers weigh less"
    )


def settle(
    answers: pd.DataFrame,
    policy: SettlePolicy,
    *,
    classes: Sequence[str] | None = None,
    probs: pd.DataFrame | None = None,
    gold: pd.Series | None = None,
) -> pd.DataFrame:
    """The label of each sample with its trust; a missing label means: ask again.

    `answers` has seq, sample_id, annotator, value (missing for a skip) and perhaps kind. `probs`
    (a row per sample_id, a column per class) is the prediction of a model that did not know the
    answers; `gold` maps sample_id to a known class: it measures annotators and is not
    in the result.

    The latest answer of an annotator counts, once; a sample with skips only is left out. A verdict
    decides, unless another annotator's contradicts it. Otherwise a label needs `answers_needed`
    annotators, trust, and more votes than any other class: the model and the weights of annotators
    may doubt a majority, only votes overturn it. Rows come sorted by sample, and `annotators` and
    `answers` by annotator; the order of answers never breaks a tie. Trust is of what the method
    proposed, also where it is not enough to settle.
    """
    votes = latest_answers(answers)
    if votes.empty:
        return pd.DataFrame(columns=LABEL_COLUMNS)
    evidence = weighted_votes(votes, policy, classes=classes, probs=probs, gold=gold)
    voters = votes.groupby("sample_id", sort=True).agg(
        annotators=("annotator", list), answers=("seq", list)
    )
    labels = voters.join(METHODS[policy.method](evidence)).assign(method=policy.method)
    enough = (
        (labels["annotators"].map(len) >= policy.answers_needed)
        & (labels["trust"] >= policy.threshold)
        & (labels["label"] == leading_classes(evidence))
    )
    labels["label"] = labels["label"].astype(object).where(enough, None)
    labels = _decide(labels, _verdicts(answers))
    labels = labels[~labels.index.isin([] if gold is None else gold.index)]
    return labels.reset_index()[LABEL_COLUMNS]


def weighted_votes(
    votes: pd.DataFrame,
    policy: SettlePolicy,
    *,
    classes: Sequence[str] | None = None,
    probs: pd.DataFrame | None = None,
    gold: pd.Series | None = None,
) -> Votes:
    """The evidence for a method, with the votes of those who failed on gold counting less."""
    worth = pd.Series(dtype=float)
    if gold is not None:
        worth = vote_weights(
            gold_accuracy_of(votes, gold),
            gold_needed=policy.gold_needed,
            gold_accuracy=policy.gold_accuracy,
            assumed_error=policy.assumed_error,
        )
    return gather_votes(
        votes,
        classes=classes,
        probs=probs,
        gold=gold,
        weights=worth,
        assumed_error=policy.assumed_error,
    )


def leading_classes(evidence: Votes) -> pd.Series:
    """The class with the most votes of each sample, missing for a tie."""
    votes = evidence.tally()
    second, first = np.partition(votes, -2, axis=1)[:, -2:].T
    names = np.array([*evidence.classes, None], dtype=object)[votes.argmax(axis=1)]
    return pd.Series(names, index=evidence.samples, dtype=object).where(first > second + TIE, None)


def _verdicts(answers: pd.DataFrame) -> pd.Series:
    """The final word on each sample that has one; None where they differ."""
    if "kind" not in answers:
        return pd.Series(dtype=object)
    # A later skip takes a verdict back, a later answer does not.
    words = answers[(answers["kind"] == VERDICT) | answers["value"].isna()]
    last = words.sort_values("seq").drop_duplicates(["sample_id", "annotator"], keep="last")
    final = last[(last["kind"] == VERDICT) & last["value"].notna()]
    values = final.groupby("sample_id")["value"]
    return values.first().astype(object).where(values.nunique() == 1, None)


def _decide(labels: pd.DataFrame, verdicts: pd.Series) -> pd.DataFrame:
    """`labels` with the final words in the place of what was settled without them."""
    labels.loc[verdicts.index, "label"] = verdicts
    decided = verdicts[verdicts.notna()].index
    labels.loc[decided, "trust"] = VERDICT_TRUST
    labels.loc[decided, "method"] = VERDICT
    return labels
