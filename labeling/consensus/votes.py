"""The evidence for the labels as arrays: the answers, the model's probabilities, gold."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd

TIE = 1e-9  # two classes closer than this are as likely as each other


@dataclass(frozen=True)
class Votes:
    """The answers by number: in answer j annotator[j] calls sample[j] classes[class_index[j]].

    Everything is sorted by name, so the order in which answers came has no part in it.
    """

    samples: pd.Index
    annotators: pd.Index
    classes: list[str]
    sample: np.ndarray
    annotator: np.ndarray
    class_index: np.ndarray
    known: np.ndarray  # per sample: its class where it is gold, else -1
    weight: np.ndarray  # per annotator, in (0, 1]; below 1 for somebody who failed on gold
    probs: np.ndarray | None  # per sample and class; a row of NaN where the model has none
    assumed_error: float  # of an annotator nothing is known about

    @property
    def width(self) -> int:
        """Columns for classes: at least two, since an answer may be wrong even if all agree."""
        return max(2, len(self.classes))

    def expected_accuracy(self) -> np.ndarray:
        """Per annotator, how often they are right by their weight; as assumed for a weight of 1."""
        odds = (1 - self.assumed_error) / self.assumed_error
        return np.asarray(1 / (1 + odds**-self.weight))

    def tally(self) -> np.ndarray:
        """The votes for each class of each sample, weighted by the weight of the annotator."""
        votes = np.zeros((len(self.samples), self.width))
        np.add.at(votes, (self.sample, self.class_index), self.weight[self.annotator])
        return votes

    def annotator_class_pairs(self) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Each distinct (annotator, class named) as two columns, and which one each answer is."""
        pairs, which = np.unique(
            self.annotator * self.width + self.class_index, return_inverse=True
        )
        return pairs // self.width, pairs % self.width, which

    def settle_known(self, belief: np.ndarray) -> np.ndarray:
        """`belief` with the gold samples as sure as they are."""
        gold = np.flatnonzero(self.known >= 0)
        belief[gold] = 0
        belief[gold, self.known[gold]] = 1
        return belief

    def proposals(self, belief: np.ndarray) -> pd.DataFrame:
        """The most likely class of each sample, none for a tie, and its probability as trust."""
        best = belief.argmax(axis=1)
        trust = belief.max(axis=1)
        tied = (belief >= trust[:, None] - TIE).sum(axis=1) > 1
        names = np.array([*self.classes, *[None] * (self.width - len(self.classes))], dtype=object)
        label = pd.Series(names[best], index=self.samples, dtype=object)
        return pd.DataFrame({"label": label.where(~tied, None), "trust": trust})


def gather_votes(
    votes: pd.DataFrame,
    *,
    classes: Sequence[str] | None,
    probs: pd.DataFrame | None,
    gold: pd.Series | None,
    weights: pd.Series,
    assumed_error: float,
) -> Votes:
    """`votes` (one answer per annotator and sample, sorted) with all that is known about them.

    Classes that are not in `classes` but were named stay; probabilities of unknown classes are left
    out.
    """
    annotators = pd.Index(votes["annotator"].unique()).sort_values()
    samples = pd.Index(votes["sample_id"].unique(), name="sample_id").sort_values()
    known = pd.Series(dtype=object) if gold is None else gold.reindex(samples).dropna()
    listed = list(dict.fromkeys(classes or []))
    named = {*votes["value"], *known}
    if classes is None and probs is not None:
        named |= set(probs.columns)
    numbers = pd.Index([*listed, *sorted(named - set(listed))], dtype=object)
    return Votes(
        samples=samples,
        annotators=annotators,
        classes=numbers.tolist(),
        sample=samples.get_indexer(pd.Index(votes["sample_id"])),
        annotator=annotators.get_indexer(pd.Index(votes["annotator"])),
        class_index=numbers.get_indexer(pd.Index(votes["value"])),
        known=numbers.get_indexer(pd.Index(known.reindex(samples))),
        weight=weights.reindex(annotators).fillna(1.0).to_numpy(dtype=float),
        probs=_aligned(probs, samples, numbers),
        assumed_error=assumed_error,
    )


def latest_answers(answers: pd.DataFrame) -> pd.DataFrame:
    """The last answer of each annotator to each sample, skips left out, sorted."""
    newest = answers.sort_values("seq").drop_duplicates(["sample_id", "annotator"], keep="last")
    given = newest[newest["value"].notna()]
    return given.sort_values(["sample_id", "annotator"], ignore_index=True)


def softmax(logs: np.ndarray) -> np.ndarray:
    """Rows of unnormalised log-probabilities as probabilities."""
    odds = np.exp(logs - logs.max(axis=1, keepdims=True))
    return np.asarray(odds / odds.sum(axis=1, keepdims=True))


def _aligned(probs: pd.DataFrame | None, samples: pd.Index, classes: pd.Index) -> np.ndarray | None:
    """The model's probabilities of our classes in our order; NaN where it has none."""
    if probs is None or len(classes) < 2:
        return None
    if probs.index.has_duplicates:
        twice = probs.index[probs.index.duplicated()][0]
        raise ValueError(f"sample {twice} has two rows in probs; give the newest model's alone")
    ours = probs.reindex(index=samples.intersection(probs.index), columns=classes)
    table = ours.astype(float).fillna(0.0).reindex(samples).to_numpy().clip(min=0)
    total = table.sum(axis=1, keepdims=True)
    table = np.divide(table, total, out=np.full(table.shape, np.nan), where=total > 0)
    return None if np.isnan(table).all() else table
