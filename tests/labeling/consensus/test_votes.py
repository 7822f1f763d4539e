import numpy as np
import pandas as pd
import pytest

from labeling.consensus.votes import Votes, gather_votes, latest_answers, softmax

VOTES = pd.DataFrame(
    [("s", "ann", "dog"), ("s", "ben", "cat"), ("t", "ann", "eel")],
    columns=["sample_id", "annotator", "value"],
)


def gathered(**known: object) -> Votes:
    asked: dict = {"classes": ["dog", "cat"], "probs": None, "gold": None}
    asked |= {"weights": pd.Series({"ann": 0.5}), "assumed_error": 0.05}
    return gather_votes(VOTES, **(asked | known))


def test_classes_keep_their_order_and_those_named_beside_them_come_after() -> None:
    assert gathered().classes == ["dog", "cat", "eel"]
    assert gathered(classes=None).classes == ["cat", "dog", "eel"]
    assert gathered(gold=pd.Series({"t": "fox"})).classes == ["dog", "cat", "eel", "fox"]


def test_votes_are_tallied_by_their_weight_and_the_unknown_weigh_one() -> None:
    evidence = gathered()
    assert evidence.tally().tolist() == [[0.5, 1, 0], [0, 0, 0.5]]
    assert evidence.expected_accuracy()[1] == pytest.approx(0.95)
    assert 0.5 < evidence.expected_accuracy()[0] < 0.95


def test_gold_is_known_where_somebody_answered_it() -> None:
    evidence = gathered(gold=pd.Series({"t": "cat", "z": "dog"}))
    assert evidence.known.tolist() == [-1, 1]
    belief = evidence.settle_known(np.full((2, 3), 1 / 3))
    assert belief[1].tolist() == [0, 1, 0]


def test_each_distinct_saying_is_there_once_and_every_answer_finds_its_own() -> None:
    evidence = gathered()
    person, said, which = evidence.annotator_class_pairs()
    assert (person[which] == evidence.annotator).all()
    assert (said[which] == evidence.class_index).all()


def test_probs_are_put_in_our_order_and_say_nothing_of_classes_we_lack() -> None:
    probs = pd.DataFrame({"cat": [0.2], "dog": [0.2], "fox": [0.6]}, index=["s"])
    aligned = gathered(probs=probs).probs
    assert aligned is not None
    assert aligned[0].tolist() == [0.5, 0.5, 0]
    assert np.isnan(aligned[1]).all()
    assert gathered(probs=probs[["fox"]]).probs is None
    assert gathered(probs=pd.DataFrame()).probs is None


def test_two_guesses_at_one_sample_are_refused() -> None:
    probs = pd.DataFrame({"cat": [0.2, 0.3], "dog": [0.8, 0.7]}, index=["s", "s"])
    with pytest.raises(ValueError, match="sample s has two rows in probs"):
        gathered(probs=probs)


def test_a_proposal_is_the_likeliest_class_and_none_for_a_tie() -> None:
    found = gathered().proposals(np.array([[0.2, 0.5, 0.3], [0.4, 0.2, 0.4]]))
    assert found["label"].tolist() == ["cat", None]
    assert found["trust"].tolist() == [0.5, 0.4]
    assert found.index.tolist() == ["s", "t"]


def test_the_latest_answer_of_a_person_counts_and_a_skip_takes_it_back() -> None:
    answers = VOTES.assign(seq=[1, 2, 3])
    later = pd.DataFrame(
        [("s", "ann", "cat", 9), ("t", "ann", None, 8)],
        columns=["sample_id", "annotator", "value", "seq"],
    )
    latest = latest_answers(pd.concat([later, answers]))
    assert latest[["annotator", "value"]].values.tolist() == [["ann", "cat"], ["ben", "cat"]]


def test_softmax_does_not_overflow() -> None:
    assert softmax(np.array([[1000.0, 1000.0], [-1000.0, 0.0]])).tolist() == [[0.5, 0.5], [0, 1]]
