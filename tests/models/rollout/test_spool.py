"""What services record of a trial reaches the database once, with its counts."""

import uuid
from dataclasses import replace
from pathlib import Path

import pytest
from sqlalchemy import Engine, delete

from core.database import connect, now, upgrade, writing
from models.rollout.spool import drain_shadow, drain_shadow_again, shadow_spool
from models.rollout.store import (
    TrialState,
    disagreeing_samples,
    has_shadowed,
    load_trial,
    new_answers,
    new_records,
    save_trial,
    shadow_answers,
    shadow_records,
    trial_counts,
)
from models.serving.segments import SegmentWriter
from models.serving.shadow_records import FOLDER, Live, ShadowAnswer, ShadowRecord, record_of

AT = "2026-01-01T00:00:00.000000+00:00"
ANSWER = ShadowAnswer("p1", "s1", None, AT, "cat", False, "cat", 0.9, False)


@pytest.fixture
def engine(tmp_path: Path) -> Engine:
    engine = connect(f"sqlite:///{tmp_path / 'hone.sqlite'}")
    upgrade(engine)
    return engine


def record(*answers: ShadowAnswer, **changes: object) -> ShadowRecord:
    made = ShadowRecord(uuid.uuid4().hex, 2, "hone:a", "hone:b", now(), answers=answers)
    return replace(made, **changes)  # type: ignore[arg-type]


def write(folder: Path, *records: ShadowRecord) -> Path:
    writer = SegmentWriter(folder / FOLDER)
    writer.append_parts([(record_of(one), b"") for one in records])
    writer.close()
    return max((folder / FOLDER).glob("*.seg"))


def test_what_was_recorded_is_drained_once_with_what_was_passed_over(
    engine: Engine, tmp_path: Path
) -> None:
    failed = replace(ANSWER, prediction_id="p2", sample_id="s2", label=None, confidence=None,
                     needs_review=None, error="RuntimeError: no")  # fmt: skip
    other = replace(ANSWER, prediction_id="p3", sample_id="s3", label="dog")
    again = replace(other, prediction_id="p4")  # the same image once more
    first = record(ANSWER, failed, passed_over=7, timings=((0.1, 0.2),))
    canary = record(other, again, challenger_live=Live(5, 1))
    write(tmp_path, first, canary)
    write(tmp_path, first)  # a copy of a segment that was restored from a backup
    assert drain_shadow(engine, tmp_path) == 4
    assert drain_shadow(engine, tmp_path) == 0
    with engine.connect() as connection:
        counts = trial_counts(connection, "hone:b", since=2)
        assert counts.share == pytest.approx(4 / 11)
        assert (counts.compared, counts.failed, counts.passed_over) == (3, 1, 7)
        assert counts.first == 2
        assert (counts.disagreements, counts.answered) == (2, 5)
        answers = new_answers(connection, "hone:b", since=2, after=0)
        assert answers["sample_id"].tolist() == ["s1", "s2", "s3"]
        assert new_answers(connection, "hone:b", since=3, after=0).empty
        assert new_answers(connection, "hone:b", since=2, after=2)["seq"].tolist() == [3]
        records = new_records(connection, "hone:b", since=2, after=0)
        assert records["timings"].tolist() == [[[0.1, 0.2]], []]
        assert disagreeing_samples(connection, 9) == ["s3"]
        assert has_shadowed(connection, "hone:a", "hone:b")
        assert not has_shadowed(connection, "hone:b", "hone:a")


def test_an_image_that_came_in_an_earlier_drain_is_repeated(engine: Engine, tmp_path: Path) -> None:
    write(tmp_path, record(ANSWER))
    assert drain_shadow(engine, tmp_path) == 1
    write(tmp_path, record(replace(ANSWER, prediction_id="p9")))
    assert drain_shadow(engine, tmp_path) == 1
    with engine.connect() as connection:
        assert len(new_answers(connection, "hone:b", since=0, after=0)) == 1


def test_damage_costs_its_record_alone_and_is_printed(
    engine: Engine, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    others = [replace(ANSWER, prediction_id=f"p{n}", sample_id=f"s{n}") for n in range(3)]
    path = write(tmp_path, *(record(one) for one in others))
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)
    assert drain_shadow(engine, tmp_path) == 2
    assert "what a challenger answered there is lost" in capsys.readouterr().out


def test_what_was_drained_and_is_not_stored_is_drained_again_and_the_trial_begins_anew(
    engine: Engine, tmp_path: Path
) -> None:
    others = [replace(ANSWER, prediction_id=f"p{n}", sample_id=f"s{n}") for n in range(3)]
    path = write(tmp_path, *(record(one) for one in others))
    [state] = shadow_spool(engine, tmp_path)
    assert (state.path, state.waiting, state.lost, state.damage) == (path, 3, 0, [])
    assert drain_shadow(engine, tmp_path) == 3 and drain_shadow_again(engine, tmp_path) == 0
    with writing(engine) as connection:
        save_trial(connection, TrialState(2, last_answer=3))
        connection.execute(delete(shadow_records).where(shadow_records.c.seq == 2))
        connection.execute(delete(shadow_answers).where(shadow_answers.c.sample_id == "s1"))
    [state] = shadow_spool(engine, tmp_path)
    assert (state.waiting, state.waits_since, state.lost) == (0, None, 1)
    assert drain_shadow_again(engine, tmp_path) == 1
    with engine.connect() as connection:
        assert trial_counts(connection, "hone:b", since=2).compared == 3
        assert load_trial(connection, 2) == TrialState(2)
    assert drain_shadow_again(engine, tmp_path) == 0
