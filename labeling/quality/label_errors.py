"""Suspected label errors: labels to which a model that was not trained on them gives little."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd

# C of the logistic regression: with hundreds of columns a larger one memorises wrong labels.
# Of 1, 0.1 and 0.01 the last found most errors on a network's embeddings, and as many elsewhere.
STRENGTH = 0.01
STEPS = 1000  # the solver stops by itself long before
# This filter of cleanlab takes whatever the model would label otherwise. Its stricter ones leave
# out too much where errors are few: of the digits with 5 % wrong, 100 reviews find 94 % this way,
# 82 % with "prune_by_noise_rate", its default. By "normalized_margin" it is half of CIFAR's.
FILTER, RANK = "predicted_neq_given", "self_confidence"
COLUMNS = ["sample_id", "label", "suggested", "trust"]


def out_of_fold_probs(
    embeddings: np.ndarray,
    labels: Sequence[str],
    groups: Sequence[str],
    *,
    seed: int,
    folds: int = 5,
) -> pd.DataFrame:
    """Class probabilities of each row by a model trained on the other folds; a column a class.

    Near-duplicates (rows of one group) are in one fold, so that no row is judged by its own copy.
    A class in fewer groups than there are folds cannot be learnt in each of them: it has no column,
    and the probabilities of its rows are missing. The same seed gives the same folds.
    """
    rows, names = np.asarray(embeddings, dtype=np.float32), pd.Series(list(labels), dtype=object)
    _check(rows, names, groups, folds)
    spread = pd.Series(list(groups)).groupby(names).nunique()
    classes = sorted(spread.index[spread >= folds])
    if len(classes) < 2:
        raise ValueError(
            f"{len(classes)} of {len(spread)} classes have {folds} different samples or more (the "
            f"largest: {dict(spread.nlargest(3))}); two are needed: label more, or ask for fewer "
            "folds"
        )
    probs = pd.DataFrame(np.nan, index=range(len(names)), columns=classes)
    judged = np.flatnonzero(names.isin(classes))
    predicted = _cross_validated(
        rows[judged], names.to_numpy()[judged], np.asarray(groups)[judged], seed=seed, folds=folds
    )
    probs.iloc[judged] = predicted.reindex(columns=classes, fill_value=0.0).to_numpy()
    return probs


def find_label_errors(
    sample_ids: Sequence[str], labels: Sequence[str], probs: pd.DataFrame, *, limit: int
) -> pd.DataFrame:
    """The labels that cleanlab calls errors, the least trusted first, at most `limit`.

    `probs` is of `out_of_fold_probs`, in the order of the samples; rows it could not judge are not
    suspected. Columns: sample_id, label, suggested (the model's class), trust (cleanlab's label
    quality: the probability that the model gives the label, 0 to 1).
    """
    from cleanlab.filter import find_label_issues
    from cleanlab.rank import get_label_quality_scores

    table = pd.DataFrame({"sample_id": list(sample_ids), "label": list(labels)}, dtype=object)
    if len(table) != len(probs):
        raise ValueError(f"{len(table)} samples and {len(probs)} rows of probabilities; give each")
    judged = probs.notna().all(axis=1).to_numpy()
    table, predicted = table[judged], probs.to_numpy()[judged]
    given = pd.Index(probs.columns).get_indexer(pd.Index(table["label"]))
    if (given < 0).any():
        strange = table["label"].iloc[int(np.flatnonzero(given < 0)[0])]
        raise ValueError(f"label {strange!r} has no column; there are {', '.join(probs.columns)}")
    table["suggested"] = np.asarray(probs.columns, dtype=object)[predicted.argmax(axis=1)]
    table["trust"] = get_label_quality_scores(given, predicted, method=RANK)
    table = table[find_label_issues(given, predicted, filter_by=FILTER, n_jobs=1)]
    worst = table.sort_values(["trust", "sample_id"], ignore_index=True)
    return worst[COLUMNS].head(limit)


def fit_head(rows: np.ndarray, names: np.ndarray) -> Any:
    """A logistic regression fitted to the class of each row."""
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    head = make_pipeline(StandardScaler(), LogisticRegression(C=STRENGTH, max_iter=STEPS))
    return head.fit(rows, names)


def _cross_validated(
    rows: np.ndarray, names: np.ndarray, groups: np.ndarray, *, seed: int, folds: int
) -> pd.DataFrame:
    from sklearn.model_selection import StratifiedGroupKFold

    parts = []
    splits = StratifiedGroupKFold(folds, shuffle=True, random_state=seed)
    for learn, held in splits.split(rows, names, groups):
        model = fit_head(rows[learn], names[learn])
        parts.append(pd.DataFrame(model.predict_proba(rows[held]), held, model.classes_))
    return pd.concat(parts).sort_index().fillna(0.0)


def _check(rows: np.ndarray, names: pd.Series, groups: Sequence[str], folds: int) -> None:
    if rows.ndim != 2 or not len(rows) == len(names) == len(groups):
        raise ValueError(
            f"embeddings of shape {rows.shape}, {len(names)} labels and {len(groups)} groups; "
            "give one row, one label and one group for each sample"
        )
    if folds < 2:
        raise ValueError(f"folds is {folds}; choose 2 or more")
    if len(names) < folds:
        raise ValueError(
            f"{len(names)} labelled samples cannot be put into {folds} folds; label more first"
        )
    if names.nunique() < 2:
        raise ValueError(
            f"every label is {names.iloc[0]!r}: with one class nothing can be mistaken for "
            "another; label samples of a second class first"
        )
    broken = np.flatnonzero(~np.isfinite(rows).all(axis=1))
    if len(broken):
        raise ValueError(
            f"the embeddings of {len(broken)} samples are not finite, the first in row "
            f"{broken[0]}; score them with another model, or leave them out"
        )
