import pandas as pd
from hypothesis import given
from hypothesis import strategies as st

from labeling.consensus.annotator_weights import LEAST, gold_accuracy_of, vote_weights

GOLD = pd.Series({f"g{i:02}": "cat" for i in range(20)})


def answered(**right: int) -> pd.DataFrame:
    """Everybody answers all the gold; so many of each person's answers are right."""
    rows = [
        (sample, who, "cat" if place < count else "dog")
        for who, count in right.items()
        for place, sample in enumerate(GOLD.index)
    ]
    return pd.DataFrame(rows, columns=["sample_id", "annotator", "value"])


def weigh(seen: pd.DataFrame, needed: int = 10, accuracy: float = 0.8) -> pd.Series:
    return vote_weights(seen, gold_needed=needed, gold_accuracy=accuracy, assumed_error=0.05)


def test_answers_to_gold_are_counted_and_others_are_not() -> None:
    votes = pd.DataFrame(
        [("g00", "ann", "cat"), ("g01", "ann", "dog"), ("s", "ann", "dog"), ("s", "ben", "cat")],
        columns=["sample_id", "annotator", "value"],
    )
    seen = gold_accuracy_of(votes, GOLD)
    assert seen.index.tolist() == ["ann", "ben"]
    assert seen["judged"].tolist() == [2, 0]
    assert seen["right"].tolist() == [1, 0]
    assert seen["accuracy"].fillna(-1).tolist() == [0.5, -1]


def test_without_gold_or_answers_nobody_is_judged() -> None:
    assert gold_accuracy_of(answered(ann=20), pd.Series(dtype=object))["judged"].tolist() == [0]
    assert gold_accuracy_of(answered(), GOLD).empty
    assert weigh(gold_accuracy_of(answered(), GOLD)).empty


def test_who_passes_counts_fully_and_who_fails_counts_less_but_counts() -> None:
    worth = weigh(gold_accuracy_of(answered(good=18, limit=16, sloppy=13, guessing=2), GOLD))
    assert worth[["good", "limit"]].tolist() == [1.0, 1.0]
    assert LEAST == worth["guessing"] < worth["sloppy"] < 0.5


def test_a_vote_counts_as_the_docstring_says() -> None:
    worth = weigh(gold_accuracy_of(answered(a=14, b=10), GOLD))
    assert worth.round(2).tolist() == [0.36, 0.1]


def test_too_little_gold_judges_nobody() -> None:
    assert weigh(gold_accuracy_of(answered(bad=0), GOLD), needed=21).tolist() == [1.0]


@given(st.integers(0, 20), st.integers(0, 20), st.integers(1, 30), st.floats(0, 1))
def test_a_weight_is_above_0_up_to_1_and_more_right_answers_never_weigh_less(
    one: int, other: int, needed: int, accuracy: float
) -> None:
    worth = weigh(
        gold_accuracy_of(answered(a=min(one, other), b=max(one, other)), GOLD), needed, accuracy
    )
    assert 0 < worth["a"] <= worth["b"] <= 1
