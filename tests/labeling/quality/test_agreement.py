import math

import krippendorff
import numpy as np
import pandas as pd
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from sklearn.metrics import cohen_kappa_score

from labeling.consensus.settle import SettlePolicy
from labeling.quality.agreement import (
    ENOUGH,
    EVERYBODY,
    FASTEST,
    agreement,
    alpha,
    annotator_figures,
    confusions,
    fast_limit,
    kappas,
)

COLUMNS = [
    "sample_id",
    "annotator",
    "value",
    "kind",
    "lead_time",
    "round_id",
    "pre_annotation",
    "blind",
]
NO_GOLD = pd.Series(dtype=object)
POLICY = SettlePolicy(gold_needed=5, gold_accuracy=0.8)


def answered(*rows: tuple) -> pd.DataFrame:
    """A table of answers from (sample, annotator, value, and what differs from the usual)."""
    usual = {
        "kind": "answer",
        "lead_time": None,
        "round_id": "r1",
        "pre_annotation": None,
        "blind": False,
    }
    full = []
    for sample_id, annotator, value, *rest in rows:
        row = {"sample_id": sample_id, "annotator": annotator, "value": value, **usual}
        row |= rest[0] if rest else {}
        full.append(row | ({"kind": "skip"} if value is None else {}))
    table = pd.DataFrame(full, columns=COLUMNS, dtype=object).astype({"lead_time": float})
    return table.assign(blind=table["blind"].astype(bool), seq=range(1, len(table) + 1))


def figures(answers: pd.DataFrame, gold: pd.Series = NO_GOLD) -> pd.DataFrame:
    return annotator_figures(answers, gold=gold, policy=POLICY)


def alpha_of(answers: pd.DataFrame, of: str = "all", name: str = "all") -> pd.Series:
    table = agreement(answers)
    return table[(table["of"] == of) & (table["name"] == name)].iloc[0]


THREE = answered(
    ("s", "ann", "cat"), ("s", "ben", "cat"), ("s", "cem", "dog"),
    ("t", "ann", "dog"), ("t", "ben", "dog"),
    ("u", "ann", "cat"), ("u", "cem", None),
)  # fmt: skip


@settings(max_examples=100, deadline=None)
@given(st.lists(st.lists(st.integers(0, 3), min_size=3, max_size=3), min_size=1, max_size=30))
def test_alpha_is_that_of_the_krippendorff_package(counts: list[list[int]]) -> None:
    table = np.array(counts)
    shared = table[table.sum(axis=1) > 1]
    assume((shared.sum(axis=0) > 0).sum() > 1)
    theirs = krippendorff.alpha(value_counts=table, level_of_measurement="nominal")
    assert alpha(table) == pytest.approx(theirs)


def test_alpha_is_missing_without_overlap_or_variety_and_says_which() -> None:
    assert math.isnan(alpha(np.zeros((0, 0))))
    alone = alpha_of(answered(("s", "ann", "cat"), ("t", "ben", "dog")))
    assert (alone["samples"], math.isnan(alone["alpha"])) == (0, True)
    assert "no sample was answered by two annotators" in alone["interpretation"]
    same = alpha_of(answered(("s", "ann", "cat"), ("s", "ben", "cat")))
    assert (same["samples"], math.isnan(same["alpha"])) == (1, True)
    assert "every answer is the same class" in same["interpretation"]
    assert "no sample" in alpha_of(THREE.head(0))["interpretation"]


def test_agreement_over_few_samples_is_called_a_rough_estimate() -> None:
    pairs = [
        (f"s{n}", who, "cat" if n % 2 else "dog") for n in range(ENOUGH) for who in ("ann", "ben")
    ]
    assert alpha_of(answered(*pairs[:-2]))["interpretation"].startswith("a rough estimate")
    assert alpha_of(answered(*pairs))["interpretation"] == "reliable"


def test_a_class_stands_against_all_the_others_as_one() -> None:
    answers = answered(
        ("s", "ann", "cat"), ("s", "ben", "cat"), ("t", "ann", "dog"), ("t", "ben", "fox"),
        ("u", "ann", "fox"), ("u", "ben", "dog"), ("v", "ann", "dog"), ("v", "ben", "dog"),
    )  # fmt: skip
    assert alpha_of(answers, "class", "cat")["alpha"] == 1
    assert alpha_of(answers, "class", "cat")["samples"] == 1
    assert alpha_of(answers, "class", "fox")["alpha"] < 0
    unused = agreement(answers, ["cat", "dog", "fox", "owl"]).set_index("name").loc["owl"]
    assert unused["interpretation"] == "nobody chose it where two annotators answered"


def test_a_round_counts_the_answers_given_in_it() -> None:
    later = {"round_id": "r2"}
    answers = answered(
        ("s", "ann", "cat"), ("s", "ben", "dog"), ("t", "ann", "dog"), ("t", "ben", "dog"),
        ("s", "ben", "cat", later), ("s", "ann", "cat", later), ("u", "ann", "cat", later),
    )  # fmt: skip
    assert alpha_of(answers, "round", "r1")["alpha"] < 1
    assert alpha_of(answers, "round", "r2")["samples"] == 1
    assert alpha_of(answers)["alpha"] == 1  # the last word of each person


@pytest.mark.parametrize(
    ("differ", "verdict"),  # of 100 samples, in two classes as common as each other
    [(9, "reliable"), (11, "tentative"), (16, "tentative"), (17, "too low to rely on")],
)  # kappa 0.82, 0.78, 0.68 and 0.66
def test_kappa_is_judged_by_krippendorffs_marks(differ: int, verdict: str) -> None:
    rows = []
    for number in range(100):
        value, other = ("cat", "dog") if number % 2 else ("dog", "cat")
        rows += [
            (f"s{number}", "ann", value),
            (f"s{number}", "ben", other if number < differ else value),
        ]
    assert kappas(answered(*rows))["interpretation"].tolist() == [verdict]


def test_kappa_is_over_what_both_answered() -> None:
    rng = np.random.default_rng(0)
    one, other = rng.choice(["cat", "dog", "fox"], (2, 40))
    rows = [(f"s{n:02d}", "ann", value) for n, value in enumerate(one)]
    rows += [(f"s{n:02d}", "ben", value) for n, value in enumerate(other)]
    pair = kappas(answered(*rows, ("only-ann", "ann", "cat"), ("only-cem", "cem", "cat")))
    assert pair[["one", "other", "samples"]].values.tolist() == [["ann", "ben", 40]]
    assert pair["kappa"][0] == pytest.approx(cohen_kappa_score(one, other))
    assert pair["agreed"][0] == pytest.approx((one == other).mean())


@pytest.mark.filterwarnings("error")
def test_kappa_of_two_who_only_said_one_class_is_missing() -> None:
    pair = kappas(answered(("s", "ann", "cat"), ("s", "ben", "cat"))).iloc[0]
    assert (pair["agreed"], math.isnan(pair["kappa"])) == (1, True)
    assert kappas(THREE.head(0)).empty


def test_nobody_is_compared_with_their_own_vote() -> None:
    table = figures(THREE)
    # for cem the others say cat; for ann and ben they are at a tie, and agree on t
    assert table.loc[["ann", "ben", "cem"], "others"].tolist() == [1, 1, 1]
    assert table.loc[["ann", "ben", "cem"], "with_others"].tolist() == [1, 1, 0]
    assert table.loc[EVERYBODY, ["answers", "skips", "others"]].to_numpy().tolist() == [6, 1, 3]


def test_accuracy_on_gold_has_its_interval_and_its_weight() -> None:
    gold = pd.Series({f"g{n}": "cat" for n in range(20)})
    good = [(f"g{n}", "ann", "cat") for n in range(20)]
    bad = [(f"g{n}", "ben", "cat" if n < 12 else "dog") for n in range(20)]
    new = [(f"g{n}", "cem", "dog") for n in range(4)]
    table = figures(answered(*good, *bad, *new, ("s", "dan", "cat")), gold)
    assert table["judged"].to_dict() == {EVERYBODY: 44, "ann": 20, "ben": 20, "cem": 4, "dan": 0}
    assert table["accuracy"].dropna().tolist() == [32 / 44, 1, 0.6, 0]
    low, high = table.loc["ben", ["accuracy_low", "accuracy_high"]]
    assert (low, high) == pytest.approx((0.3866, 0.7812), abs=1e-4)
    assert table["weight"]["ben"] < 1
    assert table.loc[["ann", "cem", "dan"], "weight"].tolist() == [1, 1, 1]


def test_one_who_clicks_through_does_not_set_the_pace() -> None:
    quick = [(f"s{n}", "bot", "cat", {"lead_time": 0.1}) for n in range(100)]
    slow = [(f"s{n}", who, "cat", {"lead_time": 4.0}) for n in range(5) for who in ("ann", "ben")]
    answers = answered(*quick, *slow, ("t", "ann", None, {"lead_time": 0.01}), ("u", "ann", "cat"))
    assert fast_limit(answers) == 1.0
    table = figures(answers)
    assert table["fast"].to_dict() == {EVERYBODY: 100 / 110, "ann": 0, "ben": 0, "bot": 1}
    assert table.loc["ann", ["answers", "timed", "seconds"]].to_numpy().tolist() == [6, 5, 4]
    assert fast_limit(answered(*quick)) == FASTEST
    assert math.isnan(fast_limit(THREE))


def test_the_time_of_a_skip_does_not_set_the_pace() -> None:
    answers = answered(
        ("s", "ann", "cat", {"lead_time": 4.0}), ("t", "ann", None, {"lead_time": 0.02})
    )
    assert fast_limit(answers) == 1.0


def test_an_answer_at_the_limit_is_not_fast() -> None:
    times = [4.0, 4.0, 4.0, 1.0, 0.99]
    answers = answered(
        *[(f"s{n}", "ann", "cat", {"lead_time": time}) for n, time in enumerate(times)]
    )
    assert fast_limit(answers) == 1.0
    assert figures(answers).loc["ann", "fast"] == pytest.approx(1 / 5)


def test_a_round_whose_blind_samples_were_all_skipped_has_nothing_to_compare_with() -> None:
    shown = ("s", "ann", "cat", {"pre_annotation": "cat"})
    skipped = ("t", "ann", None, {"pre_annotation": "cat", "blind": True})
    assert figures(answered(shown, skipped)).loc["ann", ["shown", "blind"]].to_numpy().tolist() == [
        0,
        0,
    ]


def test_being_led_is_how_much_more_often_the_guess_is_the_answer_when_shown() -> None:
    def seen(n: int, value: str, **other: object) -> tuple:
        return (f"s{n}", "ann", value, {"pre_annotation": "cat", **other})

    shown = [seen(n, "cat" if n < 45 else "dog") for n in range(50)]
    blind = [seen(n, "cat" if n < 75 else "dog", blind=True) for n in range(50, 100)]
    table = figures(answered(*shown, *blind))
    row = table.loc["ann"]
    assert row[["shown", "accepted", "blind", "agreed"]].to_numpy().tolist() == [50, 0.9, 50, 0.5]
    assert row["led"] == pytest.approx(0.4)
    # Newcombe's method 10, by hand from Wilson's (0.7864, 0.9565) and (0.3664, 0.6336)
    assert row[["led_low", "led_high"]].to_numpy().tolist() == pytest.approx(
        [0.2247, 0.5451], abs=1e-4
    )
    elsewhere = [seen(n, "cat", round_id="r0") for n in range(100, 200)]
    assert figures(answered(*shown, *blind, *elsewhere)).loc["ann", "shown"] == 50
    alone = figures(answered(*shown))
    assert (alone["blind"]["ann"], math.isnan(alone["led"]["ann"])) == (0, True)


def test_a_final_word_is_an_answer_of_who_gave_it() -> None:
    final = answered(("s", "ann", "cat"), ("s", "ben", "dog", {"kind": "verdict"}))
    assert figures(final).loc["ben", ["answers", "with_others"]].to_numpy().tolist() == [1, 0]
    assert alpha_of(final)["samples"] == 1


def test_nothing_to_compare_is_missing_and_not_zero() -> None:
    for answers in (THREE.tail(2).head(1), THREE.head(0)):
        row = figures(answers).loc[EVERYBODY]
        assert row[["others", "judged", "timed", "shown", "blind"]].to_numpy().tolist() == [0] * 5
        shares = ["with_others", "accuracy", "accuracy_low", "seconds", "fast", "accepted", "led"]
        assert row[shares].isna().all()


def test_confusions_are_against_gold_and_labels_that_others_share() -> None:
    answers = answered(
        ("g", "ann", "dog"), ("s", "ann", "cat"), ("s", "ben", "dog"), ("alone", "ann", "cat"),
        ("s", "ben", "cat"),
    )  # fmt: skip
    labels = pd.Series({"g": "fox", "s": "cat", "alone": "cat"})
    found = confusions(answers, gold=pd.Series({"g": "cat"}), labels=labels)
    assert found.values.tolist() == [
        ["ann", "cat", "cat", 1], ["ann", "cat", "dog", 1], ["ben", "cat", "cat", 1],
    ]  # fmt: skip


def test_the_order_of_rows_changes_nothing() -> None:
    shuffled = THREE.sample(frac=1, random_state=1).reset_index(drop=True)
    gold = pd.Series({"s": "cat"})
    pd.testing.assert_frame_equal(agreement(THREE), agreement(shuffled))
    pd.testing.assert_frame_equal(figures(THREE, gold), figures(shuffled, gold))
