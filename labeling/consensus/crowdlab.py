"""CROWDLAB (Goh, Tkachenko, Mueller 2022), by the library of its authors.

A weighted mean of the model's probabilities and the annotators' classes, the weights taken from
how often they agree. Its trust is an agreement, not a probability: it ranks labels well and is
mostly too low.
"""

from dataclasses import replace

import numpy as np
import pandas as pd

from labeling.consensus.votes import Votes

TILT = 1e-12  # the library breaks exact ties at random; with this there are none


def crowdlab(evidence: Votes) -> pd.DataFrame:
    """The class of each sample and its trust.

    It needs a model's probabilities and some samples with several answers. A sample without
    probabilities is settled by majority, and so are all where no two annotators met.
    """
    from labeling.consensus.majority import majority

    plain = majority(evidence)
    if evidence.probs is None:
        return plain
    has_probs = ~np.isnan(evidence.probs).any(axis=1)
    answers, probs = _answers(evidence)[has_probs], evidence.probs[has_probs]
    met = (~np.isnan(answers)).sum(axis=1) > 1
    if not met.any():
        return plain
    part = replace(evidence, samples=evidence.samples[has_probs])
    proposed = part.proposals(_belief(answers, probs, evidence.weight))
    plain.loc[proposed.index, ["label", "trust"]] = proposed
    return plain


def _answers(evidence: Votes) -> np.ndarray:
    """A row per sample, a column per annotator, and one for the truth, known for gold alone."""
    table = np.full((len(evidence.samples), len(evidence.annotators) + 1), np.nan)
    table[evidence.sample, evidence.annotator] = evidence.class_index
    table[:, -1] = np.where(evidence.known >= 0, evidence.known, np.nan)
    return table


def _belief(answers: np.ndarray, probs: np.ndarray, trusted: np.ndarray) -> np.ndarray:
    """The library's weighted mean for every class, with the weights of gold on top of its own."""
    from cleanlab.multiannotator import get_label_quality_multiannotator

    there = ~np.isnan(answers).all(axis=0)
    answers, worth = answers[:, there], np.append(trusted, 1.0)[there]
    result = get_label_quality_multiannotator(
        answers,
        probs + TILT * np.arange(probs.shape[1]),
        return_detailed_quality=False,
        return_annotator_stats=False,
        return_weights=True,
        verbose=False,
    )
    quality = result["label_quality"]
    agreed = quality["annotator_agreement"][quality["num_annotations"] > 1].mean()
    others = (1 - agreed) / (probs.shape[1] - 1)
    total = result["model_weight"] * probs
    for column, weight in enumerate(result["annotator_weight"] * worth):
        rows = np.flatnonzero(~np.isnan(answers[:, column]))
        total[rows] += weight * others
        total[rows, answers[rows, column].astype(int)] += weight * (agreed - others)
    return np.asarray(total / total.sum(axis=1, keepdims=True))
