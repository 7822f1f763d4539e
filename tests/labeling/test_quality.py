import math

import pandas as pd

from labeling.quality import EVERYBODY, annotator_quality

ANSWERS = pd.DataFrame(
    [
        (1, "s", "ann", "cat"), (2, "s", "ben", "cat"), (3, "s", "cem", "dog"),
        (4, "t", "ann", "dog"), (5, "t", "ben", "dog"),
        (6, "u", "ann", "cat"),
        (7, "u", "cem", None),
    ],
    columns=["seq", "sample_id", "annotator", "value"],
)  # fmt: skip


def test_agreement_is_the_share_of_pairs_that_said_the_same() -> None:
    table = annotator_quality(ANSWERS, pd.Series(dtype=object)).set_index("annotator")
    assert table.index.tolist() == [EVERYBODY, "ann", "ben", "cem"]
    assert table["answers"].tolist() == [6, 3, 2, 1]
    assert table["pairs"].tolist() == [4, 3, 3, 2]
    assert table["agreement"].tolist() == [2 / 4, 2 / 3, 2 / 3, 0]


def test_accuracy_counts_only_what_is_known() -> None:
    table = annotator_quality(ANSWERS, pd.Series({"s": "dog", "u": "cat"})).set_index("annotator")
    assert table["judged"].tolist() == [4, 2, 1, 1]
    assert table["accuracy"].tolist() == [2 / 4, 1 / 2, 0, 1]


def test_the_latest_word_of_a_person_counts_once() -> None:
    edited = pd.concat([ANSWERS, pd.DataFrame([(8, "s", "cem", "cat")], columns=ANSWERS.columns)])
    table = annotator_quality(edited, pd.Series(dtype=object)).set_index("annotator")
    assert list(table.loc[EVERYBODY, ["answers", "agreement"]]) == [6, 1.0]


def test_nothing_to_compare_is_missing_and_not_zero() -> None:
    for answers in (ANSWERS.head(1), ANSWERS.head(0)):
        row = annotator_quality(answers, pd.Series(dtype=object)).iloc[0]
        assert row["pairs"] == row["judged"] == 0
        assert math.isnan(row["agreement"])
        assert math.isnan(row["accuracy"])
