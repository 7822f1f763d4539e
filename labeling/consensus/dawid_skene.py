"""Dawid and Skene (1979): everybody's confusion matrix and everything's class, from each other.

The textbook method, by maximum likelihood, kept to compare with: it needs many answers per person
and class, and is far too sure with few (an answer that stands alone is believed wholly).
"""

import numpy as np
import pandas as pd

from labeling.consensus.votes import Votes, softmax

ROUNDS = 50
SMOOTHING = 0.01  # of an answer in each cell: nothing is impossible because it was not seen
CLOSE = 1e-3  # no probability moved further than this: done


def dawid_skene(evidence: Votes) -> pd.DataFrame:
    """The class of each sample and its trust; gold is given, the model's guess unused."""
    from scipy.sparse import csr_matrix

    person, _, which = evidence.annotator_class_pairs()
    shape = len(evidence.samples), len(person)
    heard = csr_matrix((np.ones(len(which)), (evidence.sample, which)), shape)
    tally = evidence.tally()
    belief = evidence.settle_known(tally / tally.sum(axis=1, keepdims=True))
    for _ in range(ROUNDS):
        frequency = (belief.sum(axis=0) + SMOOTHING) / (len(belief) + SMOOTHING * evidence.width)
        confusion = _confusion(heard.T @ belief, person, len(evidence.people))
        fresh = softmax(np.log(frequency) + heard @ np.log(confusion))
        evidence.settle_known(fresh)
        moved = np.abs(fresh - belief).max()
        belief = fresh
        if moved < CLOSE:
            break
    return evidence.proposals(belief)


def _confusion(counts: np.ndarray, person: np.ndarray, people: int) -> np.ndarray:
    """For each (person, class named): how likely they say it, by the true class."""
    total = np.zeros((people, counts.shape[1]))
    np.add.at(total, person, counts)
    return np.asarray((counts + SMOOTHING) / (total[person] + SMOOTHING * counts.shape[1]))
