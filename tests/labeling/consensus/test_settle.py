from collections.abc import Callable

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from labeling.consensus import METHODS
from labeling.consensus.majority import majority
from labeling.consensus.settle import LABEL_COLUMNS, SettlePolicy, settle
from labeling.consensus.votes import Votes, latest_answers

COLUMNS = ["seq", "sample_id", "annotator", "kind", "value"]
MAJORITY = SettlePolicy(method="majority")
CLASSES = ["cat", "dog", "eel"]
all_methods = pytest.mark.parametrize("method", METHODS)


def said(*rows: tuple[str, str, str | None]) -> pd.DataFrame:
    """Answers in the order given; a value in capitals is a verdict."""
    told = [
        (i, sample, who, kind_of(value), value and value.lower())
        for i, (sample, who, value) in enumerate(rows, start=1)
    ]
    return pd.DataFrame(told, columns=COLUMNS)


def kind_of(value: str | None) -> str:
    if value is None:
        return "skip"
    return "verdict" if value.isupper() else "answer"


def votes(*values: str | None) -> pd.DataFrame:
    return said(*(("sample", f"person-{i:03}", value) for i, value in enumerate(values)))


def only(labels: pd.DataFrame) -> dict:
    assert len(labels) == 1
    return labels.to_dict("records")[0]


def guesses(**samples: list[float]) -> pd.DataFrame:
    return pd.DataFrame.from_dict(samples, orient="index", columns=CLASSES)


answer_rows = st.lists(
    st.tuples(
        st.sampled_from("stu"),
        st.sampled_from("abcd"),
        st.sampled_from(["cat", "dog", "eel", "CAT", "DOG", None]),
    ),
    max_size=25,
)
plain_rows = answer_rows.map(lambda rows: [(s, w, v and v.lower()) for s, w, v in rows])
policies = st.builds(
    SettlePolicy,
    answers_needed=st.integers(1, 3),
    threshold=st.floats(0, 0.99),
    assumed_error=st.floats(0.01, 0.4),
    method=st.sampled_from(list(METHODS)),
    gold_needed=st.integers(1, 3),
)
row_of_probs = st.lists(st.floats(0, 1), min_size=3, max_size=3)
models = st.none() | st.fixed_dictionaries({}, optional=dict.fromkeys("stuv", row_of_probs)).map(
    lambda rows: guesses(**rows)
)
golds = st.none() | st.dictionaries(st.sampled_from("uvw"), st.sampled_from(CLASSES)).map(
    lambda known: pd.Series(known, dtype=object)
)


# What holds for majority.


def test_one_answer_is_a_label_as_sure_as_its_author() -> None:
    row = only(settle(votes("cat"), MAJORITY))
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
    row = only(settle(votes(*values), MAJORITY))
    assert row["label"] == label
    assert row["trust"] == pytest.approx(trust)


def test_hundreds_of_votes_are_counted_without_overflow() -> None:
    policy = SettlePolicy(assumed_error=0.01, method="majority")
    row = only(settle(votes(*["cat"] * 500, *["dog"] * 499), policy))
    assert (row["label"], row["trust"]) == ("cat", pytest.approx(0.99))


def test_majority_knows_nothing_but_votes() -> None:
    policy = SettlePolicy(method="majority")
    labels = settle(votes("cat"), policy, classes=CLASSES, probs=guesses(sample=[0, 1, 0]))
    assert only(labels)["trust"] == pytest.approx(0.95)
    assert METHODS["majority"] is majority


# What holds for every method.


@all_methods
def test_a_tie_is_asked_again_even_without_a_threshold(method: str) -> None:
    policy = SettlePolicy(threshold=0, method=method)
    assert only(settle(votes("cat", "dog"), policy, classes=CLASSES))["label"] is None


@all_methods
@pytest.mark.parametrize("classes", [None, CLASSES])
def test_two_strangers_who_agree_settle_and_one_settles_but_for_the_textbook(
    method: str, classes: list[str] | None
) -> None:
    assert only(settle(votes("cat", "cat"), SettlePolicy(method=method), classes=classes))["label"]
    if method != "dawid_skene":
        row = only(settle(votes("cat"), SettlePolicy(method=method), classes=classes))
        assert (row["label"], row["trust"]) == ("cat", pytest.approx(0.95))


@all_methods
def test_one_quarrel_does_not_unsettle_what_somebody_says_elsewhere(method: str) -> None:
    answers = said(("s", "ann", "cat"), ("s", "ben", "dog"), ("t", "ann", "cat"))
    labels = settle(answers, SettlePolicy(method=method), classes=CLASSES)
    assert labels["label"].tolist() == [None, "cat"]


def test_too_few_people_are_asked_again() -> None:
    policy = SettlePolicy(answers_needed=2)
    assert only(settle(votes("cat"), policy))["label"] is None
    assert only(settle(votes("cat", "cat"), policy))["label"] == "cat"


def test_a_trust_below_the_threshold_is_asked_again() -> None:
    assert only(settle(votes("cat"), SettlePolicy(threshold=0.96)))["label"] is None


@pytest.mark.parametrize("values", [["cat"], ["cat", "cat", "dog"]])
def test_a_trust_equal_to_the_threshold_settles(values: list[str]) -> None:
    trust = float(only(settle(votes(*values), MAJORITY))["trust"])
    policies = (SettlePolicy(threshold=at, method="majority") for at in (trust, trust + 1e-12))
    labels = [only(settle(votes(*values), policy))["label"] for policy in policies]
    assert labels == ["cat", None]


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


def test_answers_without_a_kind_are_answers() -> None:
    row = only(settle(votes("cat").drop(columns="kind"), SettlePolicy()))
    assert row["label"] == "cat"


@all_methods
def test_no_answers_give_no_labels(method: str) -> None:
    empty = pd.DataFrame(columns=COLUMNS)
    labels = settle(
        empty, SettlePolicy(method=method), probs=guesses(s=[1, 0, 0]), gold=pd.Series({"s": "cat"})
    )
    assert list(labels.columns) == LABEL_COLUMNS
    assert labels.empty


def test_a_class_that_nobody_named_is_never_a_label_however_sure_the_model() -> None:
    """Nor does it settle what people disagree about: one more person is asked."""
    said_by_model = {f"s{i:02}": list(np.eye(3)[i % 3] * 0.97 + 0.01) for i in range(60)}
    agreed = [(f"s{i:02}", "ann", CLASSES[i % 3]) for i in range(59)]
    labels = settle(
        said(*agreed, ("s59", "ann", "cat")),
        SettlePolicy(),
        classes=CLASSES,
        probs=guesses(**said_by_model),
    )
    assert labels["label"].tolist()[:59] == [value for _, _, value in agreed]
    assert labels["label"].tolist()[59] is None
    policy = SettlePolicy(threshold=0)
    tied = settle(votes("cat", "dog"), policy, classes=CLASSES, probs=guesses(sample=[0.98, 0, 0]))
    assert only(tied)["label"] is None


@all_methods
def test_who_fails_on_gold_is_outvoted_and_not_dropped(method: str) -> None:
    gold = pd.Series({f"g{i:02}": CLASSES[i % 3] for i in range(30)})
    tests = [(str(key), who, right) for key, right in gold.items() for who in ("ann", "eve")]
    tests += [(str(key), "bob", "dog" if right == "eel" else "eel") for key, right in gold.items()]
    rows = [("s", "ann", "cat"), ("s", "bob", "dog"), ("t", "bob", "dog")]
    rows += [(f"u{i}", who, CLASSES[i % 3]) for i in range(9) for who in ("ann", "eve")]
    labels = settle(
        said(*tests, *rows), SettlePolicy(method=method), classes=CLASSES, gold=gold
    ).set_index("sample_id")
    assert labels.loc["s", "label"] == "cat"
    assert labels.loc["s", "annotators"] == ["ann", "bob"]
    assert labels.loc["t", "label"] is None
    assert not set(gold.index) & set(labels.index)


# Verdicts.


@all_methods
def test_a_verdict_decides_against_any_number_of_answers(method: str) -> None:
    answers = votes("cat", "cat", "cat", "DOG")
    row = only(settle(answers, SettlePolicy(method=method, answers_needed=9)))
    assert (row["label"], row["trust"], row["method"]) == ("dog", 0.999, "verdict")
    assert row["answers"] == [1, 2, 3, 4]


def test_the_latest_of_a_persons_verdicts_decides_and_an_answer_after_it_does_not() -> None:
    answers = said(("s", "ann", "CAT"), ("s", "ann", "DOG"), ("s", "ann", "eel"))
    assert only(settle(answers, SettlePolicy()))["label"] == "dog"


def test_a_later_skip_takes_back_the_verdict_of_its_author_alone() -> None:
    answers = said(("s", "ann", "CAT"), ("s", "ann", None), ("s", "ben", "dog"))
    row = only(settle(answers, MAJORITY))
    assert (row["label"], row["method"], row["annotators"]) == ("dog", "majority", ["ben"])
    answers = said(("s", "ann", "CAT"), ("s", "ben", None), ("s", "ben", "dog"))
    assert only(settle(answers, MAJORITY))["method"] == "verdict"


def test_verdicts_of_two_people_that_disagree_settle_nothing() -> None:
    row = only(settle(votes("CAT", "DOG", "cat", "cat", "cat"), SettlePolicy()))
    assert (row["label"], row["method"]) == (None, "bayes")
    assert only(settle(votes("CAT", "CAT", "dog"), SettlePolicy()))["label"] == "cat"


# Laws.


@settings(deadline=None)
@given(answer_rows, policies, models, golds, st.randoms(use_true_random=False))
def test_the_order_of_answers_does_not_matter(
    rows: list,
    policy: SettlePolicy,
    probs: pd.DataFrame | None,
    gold: pd.Series | None,
    shuffler: object,
) -> None:
    answers = said(*rows)
    order = list(range(len(answers)))
    shuffler.shuffle(order)  # type: ignore[attr-defined]
    turned, straight = (
        settle(rows, policy, classes=CLASSES, probs=probs, gold=gold)
        for rows in (answers.iloc[order], answers)
    )
    pd.testing.assert_frame_equal(turned, straight)


@settings(deadline=None)
@given(answer_rows, policies, models, golds)
def test_trust_is_a_probability_and_a_label_has_the_last_word_or_most_votes(
    rows: list, policy: SettlePolicy, probs: pd.DataFrame | None, gold: pd.Series | None
) -> None:
    answers = said(*rows)
    latest = latest_answers(answers)
    if gold is not None:
        latest = latest[~latest["sample_id"].isin(gold.index)]
    labels = settle(answers, policy, classes=CLASSES, probs=probs, gold=gold)
    assert labels["sample_id"].tolist() == sorted(set(latest["sample_id"]))
    for row in labels.to_dict("records"):
        mine = latest[latest["sample_id"] == row["sample_id"]]
        assert row["annotators"] == mine["annotator"].tolist()
        assert row["answers"] == mine["seq"].tolist()
        assert 0 <= row["trust"] <= 1
        if row["label"] is not None and row["method"] != "verdict":
            assert len(mine) >= policy.answers_needed
            assert row["trust"] >= policy.threshold
            counts = mine["value"].value_counts()
            if gold is None:
                assert counts[row["label"]] > counts.drop(row["label"]).max() or len(counts) == 1


@settings(deadline=None)
@given(answer_rows, policies, models, golds)
def test_a_verdict_wins(
    rows: list, policy: SettlePolicy, probs: pd.DataFrame | None, gold: pd.Series | None
) -> None:
    answers = said(*[(s, w, v and v.lower()) for s, w, v in rows], ("s", "judge", "EEL"))
    labels = settle(answers, policy, classes=CLASSES, probs=probs, gold=gold)
    row = labels.set_index("sample_id").loc["s"]
    assert (row["label"], row["method"]) == ("eel", "verdict")


@settings(deadline=None)
@given(plain_rows, policies)
def test_names_of_classes_do_not_matter(rows: list, policy: SettlePolicy) -> None:
    other = {"cat": "z", "dog": "y", "eel": "x", None: None}
    renamed = settle(said(*((s, w, other[v]) for s, w, v in rows)), policy)
    labels = settle(said(*rows), policy)
    assert [other[label] for label in labels["label"]] == list(renamed["label"])
    assert labels["trust"].tolist() == pytest.approx(renamed["trust"].tolist())


@settings(deadline=None)
@given(plain_rows, st.integers(2, 4), st.sampled_from([None, CLASSES]))
def test_strangers_who_agree_settle_and_two_who_do_not_never_do_whatever_others_say(
    rows: list, many: int, classes: list[str] | None
) -> None:
    strangers = [("new", f"stranger {i}", "eel") for i in range(many)]
    quarrel = [("tie", "somebody", "eel"), ("tie", "somebody else", "dog")]
    labels = settle(said(*rows, *strangers, *quarrel), SettlePolicy(), classes=classes)
    labels = labels.set_index("sample_id")
    assert labels.loc["new", "label"] == "eel"
    assert labels.loc["tie", "label"] is None


@pytest.mark.parametrize(
    ("wrong", "words"),
    [
        ({"answers_needed": 0}, "answers_needed is 0"),
        ({"threshold": 1.0}, "threshold is 1.0"),
        ({"assumed_error": 0.5}, "assumed_error is 0.5"),
        ({"method": "loudest"}, "'loudest'; choose one of majority, dawid_skene, crowdlab, bayes"),
        ({"ask_again": -1}, "ask_again is -1"),
        ({"gold_needed": 0}, "gold_needed is 0"),
        ({"gold_accuracy": 1.1}, "gold_accuracy is 1.1"),
    ],
)
def test_a_bad_policy_is_named_with_its_choices(wrong: dict, words: str) -> None:
    with pytest.raises(ValueError, match=words):
        SettlePolicy(**wrong)


# Odd shapes: no method falls over them.

ODD = {
    "one class named": (said(("s", "a", "cat"), ("t", "b", "cat")), None, None),
    "one class at all": (said(("s", "a", "cat"), ("s", "b", "cat")), ["cat"], None),
    "one person": (said(*((f"s{i}", "a", CLASSES[i % 3]) for i in range(9))), CLASSES, None),
    "a hundred classes": (
        said(*((f"s{i % 20}", f"p{i}", f"c{i % 97:02}") for i in range(60))),
        [f"c{i:02}" for i in range(100)],
        None,
    ),
    "samples without probs": (
        said(("s", "a", "cat"), ("s", "b", "cat"), ("t", "a", "dog"), ("t", "b", "dog")),
        CLASSES,
        guesses(s=[1, 0, 0]),
    ),
    "probs of other samples": (votes("cat", "cat"), CLASSES, guesses(z=[1, 0, 0])),
    "no probs at all": (votes("cat", "cat"), CLASSES, pd.DataFrame()),
    "probs of a class we lack": (
        votes("cat", "cat"),
        ["cat", "dog"],
        pd.DataFrame({"cat": 0.2, "unicorn": 0.8}, index=["sample"]),
    ),
    "probs of nothing": (votes("cat", "cat"), CLASSES, guesses(sample=[0, 0, np.nan])),
    "an answer of a class we lack": (votes("unicorn", "unicorn"), CLASSES, None),
}


@all_methods
@pytest.mark.parametrize("odd", ODD)
def test_odd_evidence_is_settled_all_the_same(method: str, odd: str) -> None:
    answers, classes, probs = ODD[odd]
    gold = pd.Series({"elsewhere": "cat"})
    with np.errstate(all="raise"):
        labels = settle(
            answers, SettlePolicy(method=method), classes=classes, probs=probs, gold=gold
        )
    assert labels["sample_id"].tolist() == sorted(set(answers["sample_id"]))
    assert labels["trust"].between(0, 1).all()


def test_a_method_is_a_function_of_the_evidence(monkeypatch: pytest.MonkeyPatch) -> None:
    def first_said(evidence: Votes) -> pd.DataFrame:
        return pd.DataFrame({"label": evidence.classes[0], "trust": 1.0}, index=evidence.samples)

    methods: dict[str, Callable[[Votes], pd.DataFrame]] = METHODS
    monkeypatch.setitem(methods, "first", first_said)
    assert only(settle(votes("cat"), SettlePolicy(method="first")))["method"] == "first"
