"""How far annotators agree with each other and with known classes, and how they work.

Everything reads one table, a row for each answer in force: seq, sample_id, annotator, kind
("answer", "skip" or "verdict"), value, lead_time (seconds), round_id, pre_annotation (the class
that the model predicted for that assignment) and blind (the pre-annotation was not shown). Unknown
values are missing.

A final word (verdict) is an answer of the annotator who gave it. A missing figure means that there
was nothing to compare; it is never zero instead.
"""

import math
from collections import Counter
from collections.abc import Sequence

import numpy as np
import pandas as pd

from core.intervals import share_difference, wilson
from labeling.consensus.annotator_weights import gold_accuracy_of, vote_weights
from labeling.consensus.settle import SettlePolicy, latest_answers
from labeling.kinds import DEFAULT, KINDS, Kind

ENOUGH = 30  # samples with two answers; with fewer, alpha and kappa are off by tenths
RELIABLE, TENTATIVE = 0.8, 0.667  # Krippendorff's own marks
FASTEST = 0.3  # seconds: to see an image, know it and press a key takes everybody longer
USUAL_SHARE = 0.25  # of the usual time, under which an annotator can hardly have looked
EVERYBODY = "(everybody)"  # no account has such a name


def agreement(answers: pd.DataFrame, classes: Sequence[str] = ()) -> pd.DataFrame:
    """Krippendorff's alpha over all answers, per class and per round, with its interpretation.

    Columns: of ("all", "class" or "round"), name, samples (that two annotators answered; for a
    class, those where one of them chose it), answers, alpha, interpretation. A class is compared
    with all the others as one. A round has the answers given in it; else the last answer of each
    annotator counts.
    """
    whole = _overlap(answers)
    rows = [("all", "all", whole, whole)]
    for name in [*classes, *sorted(set(whole.columns) - set(classes))]:
        own = whole[name] if name in whole else pd.Series(0, index=whole.index)
        against = pd.DataFrame({"own": own, "rest": whole.sum(axis=1) - own})
        rows.append(("class", str(name), against, against.loc[own > 0, ["own"]]))
    for round_id, in_round in answers.groupby("round_id", sort=True):
        counts = _overlap(in_round)
        rows.append(("round", str(round_id), counts, counts))
    table = pd.DataFrame(
        [
            (of, name, len(own), int(own.to_numpy().sum()), alpha(counts.to_numpy()))
            for of, name, counts, own in rows
        ],
        columns=["of", "name", "samples", "answers", "alpha"],
    )
    words = [_interpretation(*row) for row in table[["samples", "alpha"]].to_numpy()]
    unused = (table["of"] == "class") & (table["samples"] == 0) & (len(whole) > 0)
    unused_words = "nobody chose it where two annotators answered"
    return table.assign(interpretation=np.where(unused, unused_words, words))


def alpha(counts: np.ndarray) -> float:
    """Krippendorff's alpha from how often each sample (row) was given each class (column).

    1 is perfect agreement, 0 what chance gives. Missing where no sample has two answers, or all
    answers are one class. The package `krippendorff` has the same result (a test compares them),
    but takes gigabytes for 10,000 samples of 100 classes.
    """
    counts = counts[counts.sum(axis=1) > 1].astype(float)
    totals = counts.sum(axis=0)
    size = totals.sum()
    differ_by_chance = 1 - (totals * (totals - 1)).sum() / (size * (size - 1)) if size else 0.0
    if not differ_by_chance > 0:
        return math.nan
    others = counts.sum(axis=1, keepdims=True) - 1
    return float(1 - (1 - (counts * (counts - 1) / others).sum() / size) / differ_by_chance)


def kappas(answers: pd.DataFrame, kind: Kind = KINDS[DEFAULT]) -> pd.DataFrame:
    """Cohen's kappa of each two annotators, over the samples that both answered.

    Columns: one, other, samples, agreed (as the kind of label measures it), kappa, interpretation.
    Two annotators without a sample in common are left out.
    """
    pairs = _pairs(latest_answers(answers))
    rows = [
        (one, other, len(both), *_kappa(both["value"], both["other_value"], kind))
        for (one, other), both in pairs[pairs["annotator"] < pairs["other"]].groupby(
            ["annotator", "other"], sort=True
        )
    ]
    table = pd.DataFrame(rows, columns=["one", "other", "samples", "agreed", "kappa"])
    words = [_interpretation(*row) for row in table[["samples", "kappa"]].to_numpy()]
    return table.assign(interpretation=words)


def annotator_figures(
    answers: pd.DataFrame, *, gold: pd.Series, policy: SettlePolicy
) -> pd.DataFrame:
    """The figures of each annotator, by name; the first row is everybody together.

    * answers, skips
    * judged, right, accuracy, accuracy_low, accuracy_high: on gold, with Wilson's 95 % interval;
      weight: how much each vote counts, below 1 for an annotator who fell under the policy there
    * others, with_others: samples where most of the *other* annotators chose one class, and how
      often this annotator chose it too; nobody is compared with their own vote
    * timed, seconds, fast: answers whose time is known, its median, the share under `fast_limit`
    * shown, accepted, blind, agreed: answers with the pre-annotation shown and the share equal to
      it, and the same for blind ones, in rounds that had blind ones; led, led_low, led_high: how
      much more often the answer is the pre-annotation when that is shown (95 %)
    """
    votes = latest_answers(answers)
    rows = _compared(answers, votes)
    figures = {str(name): _figures(own) for name, own in rows.groupby("annotator", sort=True)}
    table = pd.DataFrame.from_dict({EVERYBODY: _figures(rows), **figures}, orient="index")
    on_gold = gold_accuracy_of(votes, gold).reindex(table.index)
    table["weight"] = vote_weights(
        on_gold,
        gold_needed=policy.gold_needed,
        gold_accuracy=policy.gold_accuracy,
        assumed_error=policy.assumed_error,
    )
    table.loc[EVERYBODY, "weight"] = math.nan
    marks = on_gold[["judged", "right"]].fillna(0).astype(int)
    marks.loc[EVERYBODY] = marks.sum()
    table = table.join(marks)
    table["accuracy"] = table["right"] / table["judged"].where(table["judged"] > 0)
    table[["accuracy_low", "accuracy_high"]] = [
        wilson(right / judged if judged else math.nan, judged)
        for right, judged in marks[["right", "judged"]].to_numpy().tolist()
    ]
    return table.rename_axis("annotator")


def confusions(answers: pd.DataFrame, *, gold: pd.Series, labels: pd.Series) -> pd.DataFrame:
    """How often each annotator gave which class to which: annotator, truth, value, times.

    The truth is gold, else the settled label of a sample that somebody else answered too: a label
    that rests on one vote is no evidence about that vote.
    """
    votes = latest_answers(answers)
    shared = votes.loc[votes["sample_id"].duplicated(), "sample_id"].unique()
    truths = {**labels[labels.index.isin(shared)].to_dict(), **gold.to_dict()}
    votes["truth"] = votes["sample_id"].map(truths)
    counts = votes.groupby(["annotator", "truth", "value"]).size()
    return counts.rename("times").reset_index()


def fast_limit(answers: pd.DataFrame) -> float:
    """Seconds under which an answer is suspiciously fast: a quarter of the usual, at least 0.3.

    The usual time is the median of the annotators' medians, so that one who clicks through a
    thousand images does not set the pace by which they are judged. Missing where no time is known.
    """
    timed = answers[answers["kind"] != "skip"].dropna(subset="lead_time")
    usual = timed.groupby("annotator")["lead_time"].median().median()
    return max(FASTEST, USUAL_SHARE * float(usual)) if len(timed) else math.nan


def _compared(answers: pd.DataFrame, votes: pd.DataFrame) -> pd.DataFrame:
    """The answers with the result of each comparison: 1, 0, or missing where there is none."""
    compared = votes.merge(_majority_of_others(votes), on=["sample_id", "annotator"])
    agrees = (compared["value"] == compared["majority"]).astype(float).set_axis(compared["seq"])
    is_answer = answers["value"].notna()
    times = answers["lead_time"].astype(float).where(is_answer)
    blind = answers["blind"].astype(bool)
    predicted = is_answer & answers["pre_annotation"].notna()
    rounds_with_blind = answers.loc[blind & predicted, "round_id"].unique()
    in_comparison = predicted & answers["round_id"].isin(rounds_with_blind)
    is_pre_annotation = (answers["value"] == answers["pre_annotation"]).astype(float)
    return answers.assign(
        lead_time=times,
        with_others=answers["seq"].map(agrees),
        fast=(times < fast_limit(answers)).astype(float).where(times.notna()),
        accepted=is_pre_annotation.where(in_comparison & ~blind),
        agreed=is_pre_annotation.where(in_comparison & blind),
    )


def _figures(rows: pd.DataFrame) -> dict[str, float]:
    """The figures of one annotator's answers, which come from `_compared`."""
    skips = int((rows["kind"] == "skip").sum())
    columns = {"others": "with_others", "timed": "fast", "shown": "accepted", "blind": "agreed"}
    counts = {name: int(rows[column].count()) for name, column in columns.items()}
    shares = {column: float(rows[column].mean()) for column in columns.values()}
    led = share_difference(
        int(rows["accepted"].sum()), counts["shown"], int(rows["agreed"].sum()), counts["blind"]
    )
    return {
        "answers": len(rows) - skips,
        "skips": skips,
        **counts,
        **shares,
        "seconds": float(rows["lead_time"].median()),
        **dict(zip(("led", "led_low", "led_high"), led, strict=True)),
    }


def _kappa(values: pd.Series, other_values: pd.Series, kind: Kind) -> tuple[float, float]:
    """The share on which two annotators agree, and kappa (as scikit-learn's, ten times faster)."""
    own, theirs = Counter(values), Counter(other_values)
    agreed = math.fsum(map(kind.agreement, values, other_values)) / len(values)
    by_chance = sum(times * theirs[name] for name, times in own.items()) / len(values) ** 2
    return agreed, (agreed - by_chance) / (1 - by_chance) if by_chance < 1 else math.nan


def _pairs(votes: pd.DataFrame) -> pd.DataFrame:
    """Each vote beside each vote of another annotator on the same sample: other, other_value."""
    own = votes[["sample_id", "annotator", "value"]]
    theirs = own.rename(columns={"annotator": "other", "value": "other_value"})
    pairs = own.merge(theirs, on="sample_id")
    return pairs[pairs["annotator"] != pairs["other"]]


def _majority_of_others(votes: pd.DataFrame) -> pd.DataFrame:
    """The majority of the others, by sample and annotator; left out where they are at a tie."""
    keys = ["sample_id", "annotator"]
    counts = _pairs(votes).groupby([*keys, "other_value"], as_index=False).size()
    top = counts[counts["size"] == counts.groupby(keys)["size"].transform("max")]
    clear = top[~top.duplicated(keys, keep=False)]
    return clear[[*keys, "other_value"]].rename(columns={"other_value": "majority"})


def _overlap(answers: pd.DataFrame) -> pd.DataFrame:
    """How often each class was given to each sample that two annotators or more answered."""
    votes = latest_answers(answers)
    shared = votes[votes["sample_id"].duplicated(keep=False)]
    return shared.groupby(["sample_id", "value"]).size().unstack(fill_value=0)


def _interpretation(samples: float, value: float) -> str:
    """How far alpha or kappa over so many samples can be relied on, in words."""
    if not samples:
        return "no sample was answered by two annotators"
    if math.isnan(value):
        return "not defined: every answer is the same class"
    if samples < ENOUGH:
        return f"a rough estimate: fewer than {ENOUGH} samples"
    if value >= RELIABLE:
        return "reliable"
    return "tentative" if value >= TENTATIVE else "too low to rely on"
