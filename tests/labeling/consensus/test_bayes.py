import numpy as np
import pytest

from labeling.consensus.bayes import bayes
from labeling.consensus.majority import majority
from tests.labeling.consensus.crowd import coin, crowd

CAREFUL, SLOPPY = coin(10, 0.95), coin(10, 0.65)
ANYTHING = np.full((10, 10), 0.1)
ALWAYS_THREE = np.eye(10)[np.full(10, 3)]
RARE = [0.9, *[0.1 / 9] * 9]


@pytest.mark.parametrize(
    "people",
    [
        [CAREFUL] * 3 + [SLOPPY] * 3,
        [CAREFUL] * 4 + [ANYTHING, ALWAYS_THREE],
        [CAREFUL] + [SLOPPY] * 3 + [ANYTHING, ALWAYS_THREE],
    ],
)
@pytest.mark.parametrize("each", [2, 3, 5])
def test_people_who_err_more_are_believed_less(people: list, each: int) -> None:
    seen = crowd(people, each=each)
    assert seen.right(bayes(seen.evidence())) > seen.right(majority(seen.evidence())) + 0.004


def test_a_model_tells_good_from_bad_even_with_one_answer_each() -> None:
    seen = crowd([CAREFUL] * 3 + [SLOPPY] * 2 + [ANYTHING], each=1, size=2000)
    evidence = seen.evidence(seen.model(0.6))
    assert seen.right(bayes(evidence)) > seen.right(majority(evidence)) + 0.05


@pytest.mark.parametrize("each", [1, 2, 3])
@pytest.mark.parametrize("with_model", [True, False])
def test_trust_is_how_often_labels_are_right(each: int, with_model: bool) -> None:
    people = [CAREFUL] * 3 + [SLOPPY] * 2 + [ANYTHING]
    seen = crowd(people, each=each, size=3000)
    found = bayes(seen.evidence(seen.model(0.6) if with_model else None))
    if each == 1 and not with_model:
        assert found["trust"].tolist() == pytest.approx([0.95] * 3000)
        return
    is_right = found["label"].astype(str) == seen.truth.astype(str)
    for low, high in ((0.3, 0.6), (0.6, 0.8), (0.8, 0.95), (0.95, 1)):
        here = found["trust"].between(low, high)
        if here.sum() >= 100:
            assert is_right[here].mean() == pytest.approx(found["trust"][here].mean(), abs=0.09)


@pytest.mark.parametrize("frequency", [None, RARE])
@pytest.mark.parametrize(("people", "each"), [(1, 1), (2, 2), (5, 3)])
@pytest.mark.parametrize("model", ["none", "good", "guessing", "even", "overconfident"])
def test_no_class_and_no_crowd_collapses_whatever_the_model(
    frequency: list | None, people: int, each: int, model: str
) -> None:
    seen = crowd([CAREFUL] * people, each=each, frequency=frequency)
    guesses = {
        "none": None,
        "good": seen.model(0.8),
        "guessing": np.random.default_rng(1).dirichlet(np.full(10, 0.2), size=600),
        "even": np.full((600, 10), 0.1),
        "overconfident": seen.model(0.5, sharpness=4),
    }
    evidence = seen.evidence(guesses[model])
    found = bayes(evidence)
    assert seen.right(found) >= seen.right(majority(evidence)) - 0.01
    assert set(found["label"].dropna()) == {str(k) for k in seen.truth}


def test_a_useless_model_is_not_heard() -> None:
    seen = crowd([CAREFUL] * 3 + [SLOPPY] * 2, each=3)
    noise = np.random.default_rng(1).dirichlet(np.full(10, 0.2), size=600)
    heard, alone = bayes(seen.evidence(noise)), bayes(seen.evidence())
    assert (heard["label"] == alone["label"]).mean() > 0.98


def test_a_model_cannot_tell_who_errs_it_or_the_only_person() -> None:
    seen = crowd([CAREFUL], each=1, size=2000)
    found = bayes(seen.evidence(seen.model(0.4)))
    assert (found["trust"] >= 0.9).mean() > 0.8
    assert seen.right(found) > 0.93


def test_somebody_who_failed_on_gold_is_believed_less_from_the_first_answer() -> None:
    seen = crowd([CAREFUL] * 2, each=1)
    found = bayes(seen.evidence(weight=np.array([1.0, 0.2])))
    first = seen.person == 0
    assert found["trust"][first].tolist() == pytest.approx([0.95] * first.sum())
    assert found["trust"][~first].max() < 0.7


def test_gold_shows_who_errs_where_nothing_else_does() -> None:
    seen = crowd([CAREFUL, SLOPPY], each=1)
    known = np.where(np.arange(600) < 200, seen.truth, -1)
    found = bayes(seen.evidence(known=known))
    careful, sloppy = (found["trust"].iloc[200:][seen.person[200:] == who] for who in (0, 1))
    assert careful.min() > 0.85
    assert sloppy.max() < 0.85
    assert found["label"][:200].astype(int).tolist() == seen.truth[:200].tolist()


def test_samples_that_the_model_did_not_see_are_settled_by_people_alone() -> None:
    seen = crowd([CAREFUL] * 3 + [SLOPPY] * 2, each=2)
    probs = seen.model(0.7)
    probs[::2] = np.nan
    found = bayes(seen.evidence(probs))
    assert found["trust"].notna().all()
    assert seen.right(found) > 0.88


def test_the_same_evidence_gives_the_same_labels() -> None:
    seen = crowd([CAREFUL] * 3 + [SLOPPY] * 2, each=2)
    evidence = seen.evidence(seen.model(0.7))
    assert bayes(evidence).equals(bayes(evidence))
