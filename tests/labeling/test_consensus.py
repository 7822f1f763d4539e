import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from labeling.consensus import LABEL_COLUMNS, SettlePolicy, settle

COLUMNS = ["seq", "sample_id", "annotator", "value"]


def said(*rows: tuple[str, str, str | None]) -> pd.DataFrame:
    return pd.DataFrame([(i, *row) for i, row in enumerate(rows, start=1)], columns=COLUMNS)


def votes(*values: str | None) -> pd.DataFrame:
    return said(*(("sample", f"person-{i:03}", value) for i, value in enumerate(values)))


def only(labels: pd.DataFrame) -> dict:
    assert len(labels) == 1
    return labels.to_dict("records")[0]


answer_rows = st.lists(
    st.tuples(
        st.sampled_from("stu"),
        st.sampled_from("abcd"),
        st.sampled_from(["cat", "dog", "eel", None]),
    ),
    max_size=25,
)
policies = st.builds(
    SettlePolicy,
    answers_needed=st.integers(1, 3),
    threshold=st.floats(0, 0.99),
    assumed_error=st.floats(0.01, 0.4),
)


def test_one_answer_is_a_label_as_sure_as_its_author() -> None:
    row = only(settle(votes("cat"), SettlePolicy()))
    assert list(row) == LABEL_COLUMNS
    assert row["label"] == "cat"
    assert row["trust"] == pytest.approx(0.95)
    assert row["annotators"] == ["person-000"]
    assert row["answers"] == [1]
    assert row["method"] == "majority"


@pytest.mark.parametrize(
    ("values", "label", "trust"),
    [
        (["cat", "cat"], "cat", 361 / 362),
        (["cat", "dog"], None, 19 / 39),
        (["cat", "cat", "dog"], "cat", 361 / 381),
        (["cat", "dog", "eel"], None, 19 / 58),
        (["cat", "cat", "dog", "dog", "eel"], None, 361 / (361 * 2 + 19 + 1)),
    ],
)
def test_trust_is_the_stated_probability(
    values: list[str], label: str | None, trust: float
) -> None:
    row = only(settle(votes(*values), SettlePolicy()))
    assert row["label"] == label
    assert row["trust"] == pytest.approx(trust)


def test_a_tie_is_asked_again_even_without_a_threshold() -> None:
    assert only(settle(votes("cat", "dog"), SettlePolicy(threshold=0)))["label"] is None


def test_hundreds_of_votes_are_counted_without_overflow() -> None:
    row = only(settle(votes(*["cat"] * 500, *["dog"] * 499), SettlePolicy(assumed_error=0.01)))
    assert (row["label"], row["trust"]) == ("cat", pytest.approx(0.99))


def test_too_few_people_are_asked_again() -> None:
    policy = SettlePolicy(answers_needed=2)
    assert only(settle(votes("cat"), policy))["label"] is None
    assert only(settle(votes("cat", "cat"), policy))["label"] == "cat"


def test_a_trust_below_the_threshold_is_asked_again() -> None:
    assert only(settle(votes("cat"), SettlePolicy(threshold=0.96)))["label"] is None


def test_one_person_counts_once_with_the_latest_word() -> None:
    answers = said(
        ("s", "ann", "cat"), ("s", "ann", "cat"), ("s", "ben", "dog"), ("s", "ann", "dog")
    )
    row = only(settle(answers, SettlePolicy(answers_needed=2)))
    assert (row["label"], row["annotators"], row["answers"]) == ("dog", ["ann", "ben"], [4, 3])


def test_a_skip_is_no_vote_and_takes_back_what_was_said_before() -> None:
    answers = said(("s", "ann", "cat"), ("s", "ben", "dog"), ("s", "ann", None), ("t", "ann", None))
    row = only(settle(answers, SettlePolicy()))
    assert (row["sample_id"], row["label"], row["annotators"]) == ("s", "dog", ["ben"])


def test_no_answers_give_no_labels() -> None:
    labels = settle(pd.DataFrame(columns=COLUMNS), SettlePolicy())
    assert list(labels.columns) == LABEL_COLUMNS
    assert labels.empty


@given(answer_rows, policies, st.randoms(use_true_random=False))
def test_the_order_of_answers_does_not_matter(
    rows: list, policy: SettlePolicy, shuffler: object
) -> None:
    answers = said(*rows)
    order = list(range(len(answers)))
    shuffler.shuffle(order)  # type: ignore[attr-defined]
    pd.testing.assert_frame_equal(settle(answers.iloc[order], policy), settle(answers, policy))


@given(answer_rows, policies)
def test_a_label_has_strictly_most_votes_and_all_votes_are_named(
    rows: list, policy: SettlePolicy
) -> None:
    latest = {
        (sample, who): (seq, value)
        for seq, sample, who, value in said(*rows).itertuples(index=False)
    }
    labels = settle(said(*rows), policy)
    assert labels["sample_id"].tolist() == sorted(
        {s for (s, _), (_, v) in latest.items() if isinstance(v, str)}
    )
    for row in labels.to_dict("records"):
        mine = {
            w: sv
            for (s, w), sv in sorted(latest.items())
            if s == row["sample_id"] and isinstance(sv[1], str)
        }
        assert row["annotators"] == list(mine)
        assert row["answers"] == [seq for seq, _ in mine.values()]
        assert 0 < row["trust"] < 1
        counts = pd.Series([value for _, value in mine.values()]).value_counts()
        if row["label"] is not None:
            assert len(mine) >= policy.answers_needed
            assert row["trust"] >= policy.threshold
            assert counts[row["label"]] > counts.drop(row["label"]).max() or len(counts) == 1


@given(answer_rows, policies)
def test_names_of_classes_do_not_matter(rows: list, policy: SettlePolicy) -> None:
    other = {"cat": "z", "dog": "y", "eel": "x", None: None}
    renamed = settle(said(*((s, w, other[v]) for s, w, v in rows)), policy)
    labels = settle(said(*rows), policy)
    assert [other[label] for label in labels["label"]] == list(renamed["label"])
    assert labels["trust"].tolist() == pytest.approx(renamed["trust"].tolist())


@pytest.mark.parametrize(
    ("wrong", "words"),
    [
        ({"answers_needed": 0}, "answers_needed is 0"),
        ({"threshold": 1.0}, "threshold is 1.0"),
        ({"assumed_error": 0.5}, "assumed_error is 0.5"),
        ({"method": "loudest"}, "'loudest'; choose from majority"),
    ],
)
def test_a_bad_policy_is_named_with_its_choices(wrong: dict, words: str) -> None:
    with pytest.raises(ValueError, match=words):
        SettlePolicy(**wrong)
