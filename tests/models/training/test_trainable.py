"""A table is trained on only if it has rows of two classes to train on."""

import pandas as pd
import pytest

from models.training.trainable import missing_for_training, missing_rows


def table(*rows: tuple[str, str]) -> pd.DataFrame:
    return pd.DataFrame(rows, columns=["split", "label"])


@pytest.mark.parametrize(
    ("rows", "words"),
    [
        ([], "none of the 0 rows is in split 'train' (splits: none)"),
        ([("held", "cat"), ("test", "dog")],
         "none of the 2 rows is in split 'train' (splits: held, test)"),
        ([("soft", "cat"), ("val", "dog")], "(splits: soft, val)"),
        ([("train", "cat"), ("train", "cat"), ("val", "dog")],
         "all 2 rows in split 'train' have the label 'cat'"),
    ],
)  # fmt: skip
def test_what_is_missing_is_one_sentence_with_its_remedy(rows, words):
    missing = missing_for_training(table(*rows))
    assert missing is not None
    assert words in missing
    assert "cut a new snapshot" in missing


def test_two_classes_to_train_on_are_enough():
    assert missing_for_training(table(("train", "cat"), ("train", "dog"))) is None


def test_one_class_is_a_row_to_train_on():
    assert missing_rows(table(("train", "cat"))) is None
