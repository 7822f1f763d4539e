import numpy as np
import pytest

from labeling.consensus.dawid_skene import dawid_skene
from labeling.consensus.majority import majority
from tests.labeling.consensus.crowd import coin, crowd


def test_with_many_answers_it_finds_out_who_errs() -> None:
    seen = crowd([coin(4, 0.95)] * 2 + [coin(4, 0.5)] * 3, each=5)
    evidence = seen.evidence()
    assert seen.right(dawid_skene(evidence)) > seen.right(majority(evidence)) + 0.02


def test_somebody_who_says_the_other_of_two_classes_is_understood() -> None:
    swapped = coin(4, 0.95)[[1, 0, 2, 3]]
    seen = crowd([coin(4, 0.9), coin(4, 0.9), swapped], each=3)
    assert seen.right(dawid_skene(seen.evidence())) > 0.98


def test_gold_is_taken_as_known() -> None:
    seen = crowd([coin(3, 0.6)] * 2, each=2, size=50)
    found = dawid_skene(seen.evidence(known=seen.truth))
    assert found["label"].astype(int).tolist() == seen.truth.tolist()
    assert found["trust"].tolist() == pytest.approx([1] * 50)


def test_the_model_has_no_say() -> None:
    seen = crowd([coin(3, 0.8)] * 3, each=2)
    noise = np.random.default_rng(0).dirichlet(np.ones(3), size=600)
    assert dawid_skene(seen.evidence(noise)).equals(dawid_skene(seen.evidence()))
