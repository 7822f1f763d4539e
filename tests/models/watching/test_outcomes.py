"""Truths: recorded once, corrected, disputed, late, about what is not known."""

from collections import Counter
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sqlalchemy import Engine, select

from core.database import writing
from core.journal_checks import rows_are_as_journaled
from core.workspace import Workspace
from models.watching.outcome_queries import (
    disputed_samples,
    judged_rows,
    judged_samples,
    outcome_counts,
)
from models.watching.outcome_tables import Standing, outcomes, truth_counts, truths
from models.watching.outcomes import ClassNames, count_key, join_classes, join_waiting
from tests.counted_work import instructions_run
from tests.models.watching.feedback_given import (
    CLASSES,
    NAMES,
    make_engine,
    prediction_id,
    record,
    serve,
    truth,
)


@pytest.fixture
def engine(tmp_path: Path) -> Engine:
    return make_engine(tmp_path, ["cat", "dog", "eel"])


def stands(engine: Engine, number: int = 1) -> tuple[str, str] | None:
    with engine.connect() as connection:
        query = select(*truths.c["truth", "standing"])
        row = connection.execute(
            query.where(truths.c.prediction_id == prediction_id(number))
        ).first()
    return None if row is None else (row[0], row[1])


def history(engine: Engine) -> list[Any]:
    with engine.connect() as connection:
        return list(connection.execute(select(outcomes).order_by(outcomes.c.seq)))


def test_the_same_content_twice_is_one_outcome(engine):
    assert record(engine, truth(1, "dog"), truth(1, "dog")).new == 1
    again = record(engine, truth(1, "dog"))
    assert (again.new, again.known) == (0, 1)
    assert [row.truth for row in history(engine)] == ["dog"]


def test_a_correction_takes_the_place_and_the_history_stays(engine):
    record(engine, truth(1, "dog", at="2026-01-01T13:00:00Z"))
    record(engine, truth(1, "eel", at="2026-01-01T14:00:00Z"))
    first, second = history(engine)
    assert (first.superseded_by, second.superseded_by) == (second.outcome_id, None)
    assert stands(engine) == ("eel", Standing.JUDGES)


def test_an_older_correction_that_comes_late_is_history_at_once(engine):
    record(engine, truth(1, "eel", at="2026-01-01T14:00:00Z"))
    record(engine, truth(1, "dog", at="2026-01-01T13:00:00Z"))
    assert stands(engine) == ("eel", Standing.JUDGES)


def test_a_person_may_return_to_an_earlier_answer_and_a_retry_adds_nothing(engine):
    for request, value in (("a", "dog"), ("b", "eel"), ("c", "dog"), ("b", "eel")):
        record(engine, truth(1, value, under=request))
    assert [row.truth for row in history(engine)] == ["dog", "eel", "dog"]
    assert stands(engine) == ("dog", Standing.JUDGES)


def test_people_who_differ_make_a_dispute_that_a_correction_ends(engine):
    record(engine, truth(1, "dog", "ada"), truth(1, "eel", "ben"))
    assert stands(engine) == ("dog", Standing.DISPUTED)
    record(engine, truth(1, "dog", "ben", under="later"))
    assert stands(engine) == ("dog", Standing.JUDGES)


def test_a_confirmed_truth_beats_weak_ones_whoever_gives_them_and_whenever(engine):
    record(engine, truth(1, "eel"))
    record(engine, truth(1, "dog", "ben", strength="weak", at="2026-01-01T20:00:00Z"))
    record(engine, truth(1, "dog", "ada", strength="implicit", at="2026-01-01T20:00:00Z"))
    assert stands(engine) == ("eel", Standing.JUDGES)


def test_a_weak_truth_trains_and_never_judges(engine):
    record(engine, truth(1, "dog", strength="weak"), truth(2, "dog", strength="implicit"))
    with engine.connect() as connection:
        counts = outcome_counts(connection)
    assert (counts.judging, counts.training) == (0, 2)


def test_truths_that_name_nobody_are_of_as_many_people(engine):
    weak = {"strength": "weak", "who": ""}
    record(engine, truth(1, "dog", **weak, under="a"))
    assert stands(engine) == ("dog", Standing.TRAINS)
    assert record(engine, truth(1, "dog", **weak, under="b")).known == 1  # again: nothing new
    record(engine, truth(1, "eel", **weak, under="c"))
    assert stands(engine) == ("dog", Standing.DISPUTED)  # nobody corrected anybody
    assert [row.superseded_by for row in history(engine)] == [None, None]
    record(engine, truth(1, "eel", "ada"))
    assert stands(engine) == ("eel", Standing.JUDGES)


def test_a_truth_that_repeats_the_answer_is_marked(engine):
    record(engine, truth(1, "cat"), truth(2, "cat"))
    assert [row.repeats for row in history(engine)] == [True, False]


def test_an_unknown_class_waits_until_hone_toml_has_it(engine):
    record(engine, truth(1, "fox"))
    assert stands(engine) == ("fox", Standing.UNKNOWN_CLASS)
    with writing(engine) as connection:
        assert join_classes(connection, NAMES) == 0
        assert join_classes(connection, ClassNames([*CLASSES, "fox"])) == 1
    assert stands(engine) == ("fox", Standing.JUDGES)


def test_what_looks_for_few_truths_reads_few_however_many_there_are(engine):
    serve(engine, ["cat"] * 2_000, first=100)
    record(engine, truth(1, "fox"), truth(2, "dog"), truth(2, "eel", "ben"))
    looks = (
        lambda connection: join_classes(connection, NAMES),
        lambda connection: disputed_samples(connection, 10),
        lambda connection: judged_rows(connection, "hone:new"),  # at its first check
        lambda connection: judged_samples(connection, "hone:new", 10),
    )
    cost = []
    for count in (20, 2_000):
        record(engine, *(truth(number, "cat") for number in range(100, 100 + count)))
        with writing(engine) as connection:
            cost.append([
                instructions_run(connection, partial(look, connection)) for look in looks
            ])  # fmt: skip
    assert all(many < 1.1 * few for few, many in zip(*cost, strict=True))


def test_a_class_is_known_however_its_accents_are_composed(tmp_path):
    engine = make_engine(tmp_path, ["caf\u00e9"])
    names = ClassNames(["caf\u00e9"])
    with writing(engine) as connection:
        from models.watching.outcomes import record_outcomes

        record_outcomes(connection, [truth(1, "cafe\u0301")], names)
    assert stands(engine) == ("caf\u00e9", Standing.JUDGES)
    assert history(engine)[0].repeats


def test_a_clock_that_was_before_the_prediction_does_not_order_corrections(engine):
    """The second clock is a year behind, so that its truth counts from when it came."""
    record(engine, truth(1, "dog", at="2026-01-01T20:00:00Z"))
    record(engine, truth(1, "eel", at="2025-01-01T20:00:00Z"))
    assert stands(engine) == ("eel", Standing.JUDGES)


def test_an_unknown_prediction_waits_and_is_joined_when_it_comes(engine):
    assert record(engine, truth(9, "dog"), truth(1, "dog")).waiting == 1
    assert stands(engine, 9) is None
    serve(engine, ["cat"], first=9)
    with writing(engine) as connection:
        assert join_waiting(connection, NAMES, after_seq=0, to_seq=8) == 0
        assert join_waiting(connection, NAMES, after_seq=8, to_seq=9) == 1
        assert join_waiting(connection, NAMES, after_seq=0, to_seq=9) == 0
    assert stands(engine, 9) == ("dog", Standing.JUDGES)
    with engine.connect() as connection:
        assert outcome_counts(connection).waiting == 0


def test_a_truth_of_a_retired_model_counts_for_that_model(engine):
    serve(engine, ["cat"], first=4, model="hone:0000-old")
    record(engine, truth(4, "dog"))
    with engine.connect() as connection:
        models = connection.scalars(select(truth_counts.c.model)).all()
    assert models == ["hone:0000-old"]


def test_a_count_has_a_key_that_every_database_takes_and_tells_long_names_apart() -> None:
    long = "\u5b57" * 900
    row = {"model": "m", "hour": "h", "slice": "", "label": long, "standing": "judges"}
    same, other = (count_key({**row, "truth": name}) for name in (long, long + "x"))
    assert same[4] == same[5] != other[5]
    assert sum(len(part.encode()) for part in other) < 700
    assert count_key({**row, "truth": long, "standing": "unknown class"})[5] == ""


GIVEN = st.lists(
    st.tuples(
        st.integers(1, 4), st.sampled_from([*CLASSES, "fox"]), st.sampled_from(["ada", "ben"]),
        st.sampled_from(["confirmed", "weak", "implicit"]),
        st.sampled_from([None, "2026-01-01T13:00:00Z", "2026-01-01T14:00:00Z",
                         "2020-01-01T14:00:00Z"]),
    ),
    max_size=12,
)  # fmt: skip


@given(GIVEN)
@settings(max_examples=12, deadline=None)
def test_what_follows_from_outcomes_is_the_same_in_one_part_or_many(rows: list[Any]) -> None:
    """And the counts are those of the rows, however often truths changed."""
    import tempfile

    ends = []
    for at_once in (1, 12):
        with tempfile.TemporaryDirectory() as folder:
            engine = make_engine(Path(folder), ["cat", "dog", "eel"])
            given_rows = [
                truth(number, value, who, strength=strength, at=at, under=str(place))
                for place, (number, value, who, strength, at) in enumerate(rows)
            ]
            for start in range(0, len(given_rows), at_once):
                record(engine, *given_rows[start : start + at_once])
            with engine.connect() as connection:
                everything = [row._asdict() for row in connection.execute(select(truths))]
                counted = connection.execute(select(truth_counts)).tuples().all()
            by = Counter(map(count_key, everything))
            assert {tuple(row[:-1]): row[-1] for row in counted} == by
            ends.append(
                (
                    sorted((row["prediction_id"], row["truth"], row["standing"])
                           for row in everything),
                    [(row.outcome_id, row.superseded_by, row.repeats) for row in history(engine)],
                )
            )  # fmt: skip
            assert list(rows_are_as_journaled(engine, Workspace(Path(folder), "", "", (), 8))) == []
            engine.dispose()
    assert ends[0] == ends[1]
