import numpy as np
import pytest
from cleanlab.multiannotator import get_label_quality_multiannotator

from labeling.consensus.crowdlab import crowdlab
from labeling.consensus.majority import majority
from tests.labeling.consensus.crowd import Crowd, coin, crowd

PEOPLE = [coin(5, 0.95)] * 3 + [coin(5, 0.6)] * 2


def wide(seen: Crowd) -> np.ndarray:
    table = np.full((len(seen.truth), seen.people), np.nan)
    table[seen.sample, seen.person] = seen.said
    return table


def test_labels_and_trust_are_the_librarys() -> None:
    seen = crowd(PEOPLE, each=3)
    noise = np.random.default_rng(0).dirichlet(np.ones(5), size=600)  # no two classes alike
    probs = 0.9 * seen.model(0.7) + 0.1 * noise
    found = crowdlab(seen.evidence(probs))
    theirs = get_label_quality_multiannotator(wide(seen), probs, verbose=False)["label_quality"]
    same = found["label"].astype(int).to_numpy() == theirs["consensus_label"].to_numpy()
    assert same.mean() > 0.99  # theirs is chosen one round earlier than their trust is
    scores = theirs["consensus_quality_score"].to_numpy()
    assert found["trust"].to_numpy()[same] == pytest.approx(scores[same])


def test_it_beats_majority_where_people_differ() -> None:
    seen = crowd(PEOPLE, each=2)
    evidence = seen.evidence(seen.model(0.7))
    assert seen.right(crowdlab(evidence)) > seen.right(majority(evidence)) + 0.05


def test_who_failed_on_gold_counts_less() -> None:
    seen = crowd([coin(5, 0.95)] * 2, each=2)
    probs = np.full((600, 5), 0.2)
    apart = seen.said[::2] != seen.said[1::2]
    found = crowdlab(seen.evidence(probs, weight=np.array([1.0, 0.1])))
    first = wide(seen)[:, 0].astype(int).astype(str)
    assert (found["label"].astype(str) == first)[apart].all()


def test_gold_is_one_more_opinion_and_always_right() -> None:
    seen = crowd([coin(5, 0.95), coin(5, 0.4)], each=2)
    known = np.where(np.arange(600) < 200, seen.truth, -1)
    even = np.full((600, 5), 0.2)
    informed, ignorant = crowdlab(seen.evidence(even, known=known)), crowdlab(seen.evidence(even))
    assert informed["label"][:200].astype(int).tolist() == seen.truth[:200].tolist()
    assert seen.right(informed, after=200) > seen.right(ignorant, after=200) + 0.2


def test_without_probabilities_or_without_overlap_it_is_majority() -> None:
    seen = crowd(PEOPLE, each=2)
    assert crowdlab(seen.evidence()).equals(majority(seen.evidence()))
    alone = crowd(PEOPLE, each=1)
    evidence = alone.evidence(alone.model(0.7))
    assert crowdlab(evidence).equals(majority(evidence))


def test_ties_do_not_depend_on_chance() -> None:
    seen = crowd(PEOPLE, each=2, size=100)
    even = np.full((100, 5), 0.2)
    np.random.seed(0)
    first = crowdlab(seen.evidence(even))
    np.random.seed(1)
    assert crowdlab(seen.evidence(even)).equals(first)
