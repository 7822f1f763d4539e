"""METHODS: every way from many answers to one label, by name.

A method sees all votes at once and proposes a label with its trust for each sample. A new one is a
function and a line here.
"""

from collections.abc import Callable

import pandas as pd

from labeling.consensus.bayes import bayes
from labeling.consensus.crowdlab import crowdlab
from labeling.consensus.dawid_skene import dawid_skene
from labeling.consensus.majority import majority
from labeling.consensus.votes import Votes

METHODS: dict[str, Callable[[Votes], pd.DataFrame]] = {
    "majority": majority,
    "dawid_skene": dawid_skene,
    "crowdlab": crowdlab,
    "bayes": bayes,
}

__all__ = ["METHODS", "Votes"]
