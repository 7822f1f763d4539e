"""Dawid and Skene (1979): confusion matrices of annotators and classes of samples, by EM.

The textbook method, by maximum likelihood, for comparison: it needs many answers per annotator
and class, and is far too sure with few (a single answer is trusted entirely).
"""

import numpy as np
import pandas as pd

from labeling.consensus.votes import Votes, softmax

ROUNDS = 50
SMOOTHING = 0.01  # of an answer in each cell: what did not occur yet is not impossible
CLOSE = 1e-3  # no probability moved further than this: done


def dawid_skene(evidence: Votes) -> pd.DataFrame:
    """The class of each sample and its trust; gold is given, the model's prediction unused."""
    from scipy.sparse import csr_matrix

    annotator, _, which = evidence.annotator_class_pairs()
    shape = len(evidence.samples), len(annotator)
    answered = csr_matrix((np.ones(len(which)), (evidence.sample, which)), shape)
    tally = evidence.tally()
    belief = evidence.settle_known(tally / tally.sum(axis=1, keepdims=True))
    for _ in range(ROUNDS):
        frequency = (belief.sum(axis=0) + SMOOTHING) / (len(belief) + SMOOTHING * evidence.width)
        confusion = _confusion(answered.T @ belief, annotator, len(evidence.annotators))
        fresh = softmax(np.log(frequency) + answered @ np.log(confusion))
        evidence.settle_known(fresh)
        moved = np.abs(fresh - belief).max()
        belief = fresh
        if moved < CLOSE:
            break
    return evidence.proposals(belief)


def _confusion(counts: np.ndarray, annotator: np.ndarray, n_annotators: int) -> np.ndarray:
    """For each (annotator, class named): how likely they name it, by the true class."""
    total = np.zeros((n_annotators, counts.shape[1]))
    np.add.at(total, annotator, counts)
    return np.asarray((counts + SMOOTHING) / (total[annotator] + SMOOTHING * counts.shape[1]))
