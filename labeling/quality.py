"""How far annotators agree with each other, and with what is known."""

from typing import Any

import pandas as pd

from labeling.consensus import latest_answers

EVERYBODY = "everybody"


def annotator_quality(answers: pd.DataFrame, truths: pd.Series) -> pd.DataFrame:
    """A row per annotator, and first one for everybody: answers, agreement, accuracy.

    `agreement` is the share of pairs (two people on one sample) who said the same. `accuracy` is
    against `truths` (sample_id to class): gold where there is any, else the settled labels, which
    flatters, since a person's own vote is in them. Missing where there is nothing to compare.
    """
    votes = latest_answers(answers)
    votes["truth"] = votes["sample_id"].map(truths)
    pairs = votes.merge(votes, on="sample_id", suffixes=("", "_other"))
    pairs = pairs[pairs["annotator"] != pairs["annotator_other"]]
    rows = [_row(EVERYBODY, votes, pairs)]
    rows[0]["pairs"] //= 2  # each pair stands there once from either side
    for name, own in votes.groupby("annotator", sort=True):
        rows.append(_row(str(name), own, pairs[pairs["annotator"] == name]))
    return pd.DataFrame(rows)


def _row(name: str, votes: pd.DataFrame, pairs: pd.DataFrame) -> dict[str, Any]:
    judged = votes[votes["truth"].notna()]
    return {
        "annotator": name,
        "answers": len(votes),
        "pairs": len(pairs),
        "agreement": (pairs["value"] == pairs["value_other"]).mean(),
        "judged": len(judged),
        "accuracy": (judged["value"] == judged["truth"]).mean(),
    }
