"""Majority vote: everybody counts the same, but for those who failed on gold."""

import numpy as np
import pandas as pd

from labeling.consensus.votes import TIE, Votes


def majority(evidence: Votes) -> pd.DataFrame:
    """The class with the most votes, none for a tie, and its trust; one row per sample.

    Trust is the probability that the class is right if everybody errs independently with
    probability e = assumed_error and all mistakes fall on the same class (the worst case):
    r^v / (1 + sum over the classes named of r^votes), r = (1 - e) / e, v its votes, and the 1 for
    a class that nobody named. With e = 0.05: one answer 0.95, two that agree 0.997, a majority of
    one 0.95, a tie of two 0.49.
    """
    votes = evidence.settle_known(evidence.tally())
    most = votes.max(axis=1)
    odds = np.log((1 - evidence.assumed_error) / evidence.assumed_error)
    # All is divided by the leader's odds, so that many votes do not overflow.
    named = np.where(votes > 0, np.exp(odds * (votes - most[:, None])), 0.0)
    proposals = evidence.proposals(np.where(votes >= most[:, None] - TIE, most[:, None], 0.0))
    proposals["trust"] = 1 / (named.sum(axis=1) + np.exp(-odds * most))
    return proposals
