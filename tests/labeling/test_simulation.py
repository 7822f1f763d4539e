from pathlib import Path

import pandas as pd
import pytest
from sqlalchemy import select

from core.locks import only_writer
from labeling.ledger.answers import ANSWER_COLUMNS, record_answers
from labeling.ledger.tables import answers
from labeling.simulation import (
    SOURCE,
    Annotator,
    load_simulation,
    save_simulation,
    simulate_answers,
)
from tests.labeling.databases import make_engine

CLASSES = ["cat", "dog", "eel"]
ANN, BEN = Annotator("ann", 0.3), Annotator("ben", 0.3)
STABLE = [name for name in ANSWER_COLUMNS if name != "updated_at"]


def truths(size: int) -> pd.Series:
    return pd.Series({f"sample-{i:04}": CLASSES[i % 3] for i in range(size)})


def test_a_rerun_answers_the_same_whoever_else_is_asked_and_in_whatever_order() -> None:
    together = simulate_answers(truths(50), CLASSES, [ANN, BEN], seed=1)
    assert list(together.columns) == ANSWER_COLUMNS
    shuffled = simulate_answers(
        truths(50).sample(frac=1, random_state=0), CLASSES[::-1], [BEN, ANN], seed=1
    )
    pd.testing.assert_frame_equal(together[STABLE], shuffled[STABLE])
    alone = simulate_answers(truths(20), CLASSES, [ANN], seed=1)
    hers = together[together["annotator"] == "ann"].head(20).reset_index(drop=True)
    pd.testing.assert_frame_equal(alone[STABLE], hers[STABLE])


def test_annotators_samples_seeds_and_attempts_err_independently() -> None:
    wrong = {}
    for seed, attempt in ((1, 0), (2, 0), (1, 1)):
        found = simulate_answers(truths(2000), CLASSES, [ANN, BEN], seed=seed, attempt=attempt)
        found["wrong"] = found["value"] != found["sample_id"].map(truths(2000))
        for name, own in found.groupby("annotator"):
            wrong[seed, attempt, name] = own["wrong"].to_numpy()
    for one in wrong:
        for other in wrong:
            if one < other:  # 0.09 +- five standard deviations of 0.0064
                assert 0.058 < (wrong[one] & wrong[other]).mean() < 0.122


def test_mistakes_come_at_the_rate_and_fall_on_every_other_class_alike() -> None:
    found = simulate_answers(pd.Series("cat", index=truths(6000).index), CLASSES, [ANN], seed=0)
    shares = found["value"].value_counts(normalize=True)
    assert shares["cat"] == pytest.approx(0.7, abs=0.03)
    assert shares["dog"] == pytest.approx(0.15, abs=0.023)
    assert shares["eel"] == pytest.approx(0.15, abs=0.023)


def test_nobody_errs_at_rate_zero_and_everybody_at_rate_one() -> None:
    found = simulate_answers(
        truths(100), CLASSES, [Annotator("never", 0), Annotator("always", 1)], seed=0
    )
    right = found["value"] == found["sample_id"].map(truths(100))
    assert right.groupby(found["annotator"]).mean().to_dict() == {"never": 1.0, "always": 0.0}


def test_a_skip_is_no_answer() -> None:
    found = simulate_answers(truths(2000), CLASSES, [Annotator("shy", 0.0, skip_rate=0.5)], seed=0)
    skipped = found["kind"] == "skip"
    assert skipped.mean() == pytest.approx(0.5, abs=0.06)
    assert (found["value"].isna() == skipped).all()


def test_a_rerun_records_nothing_new_and_a_second_attempt_edits_the_answer(tmp_path: Path) -> None:
    engine = make_engine(tmp_path, list(truths(30).index))

    def record(attempt: int) -> dict[str, int]:
        found = simulate_answers(truths(30), CLASSES, [ANN, BEN], seed=0, attempt=attempt)
        with only_writer(engine, "answers") as token:
            return record_answers(
                engine, token, found, source=SOURCE, read=set(truths(30).index), classes=CLASSES
            )

    first, again, second = record(0), record(0), record(1)
    assert (first["new"], again["new"]) == (60, 0)
    assert 0 < second["new"] < 60
    with engine.connect() as connection:
        rows = pd.read_sql(select(answers), connection)
    assert len(rows) == 60 + second["new"]
    assert rows["replaced_at"].isna().sum() == 60
    assert rows["external_id"].nunique() == 60


def test_who_answers_in_a_workspace_is_read_back_as_it_was_saved(tmp_path: Path) -> None:
    shy = Annotator("shy", 0.0, skip_rate=0.5)
    save_simulation(tmp_path, truths(9), [ANN, shy], seed=7)
    found, people, seed = load_simulation(tmp_path)
    assert (found.to_dict(), people, seed) == (truths(9).to_dict(), [ANN, shy], 7)


@pytest.mark.parametrize(
    ("truth", "classes", "people", "words"),
    [
        (
            pd.Series({"a": "fox"}),
            CLASSES,
            [ANN],
            r"truths have \['fox'\]; the classes are cat, dog",
        ),
        (pd.Series(["cat", "dog"], index=["a", "a"]), CLASSES, [ANN], "sample a has two truths"),
        (truths(1), CLASSES, [ANN, ANN], "annotators are ann, ann"),
        (truths(1), ["cat"], [ANN], "nobody can err among 1 classes"),
    ],
)
def test_a_question_without_sense_is_refused(
    truth: pd.Series, classes: list[str], people: list[Annotator], words: str
) -> None:
    with pytest.raises(ValueError, match=words):
        simulate_answers(truth, classes, people, seed=0)


def test_an_annotator_has_a_name_and_rates_between_zero_and_one() -> None:
    with pytest.raises(ValueError, match="no name"):
        Annotator("", 0.1)
    with pytest.raises(ValueError, match=r"error_rate of ann is 5; choose 0 to 1"):
        Annotator("ann", 5)
    with pytest.raises(ValueError, match="skip_rate of ann is -1"):
        Annotator("ann", 0.1, skip_rate=-1)
