"""The spool into the database: each record once, also behind damage, also after a kill."""

from pathlib import Path

import pytest
from sqlalchemy import Engine, func, select

from core.database import now
from core.locks import only_writer
from models.serving.feedback import FeedbackRecorder
from models.watching import feedback_spool
from models.watching.feedback_spool import drain_spool, spool_states, undrained_feedback
from models.watching.outcome_tables import outcomes
from models.watching.outcomes import RecordedOutcomes
from tests.models.watching.feedback_given import NAMES, make_engine, prediction_id


@pytest.fixture
def engine(tmp_path: Path) -> Engine:
    return make_engine(tmp_path, ["cat"] * 3)


def give(folder: Path, *numbers: int, request: str = "r") -> Path:
    recorder = FeedbackRecorder(folder)
    rows = [{"prediction_id": prediction_id(number), "truth": "dog"} for number in numbers]
    recorder.record(request, rows)
    recorder.close()
    return max((folder / feedback_spool.FOLDER).glob("*.seg"))


def drain(engine: Engine, folder: Path) -> RecordedOutcomes:
    with only_writer(engine, "feedback") as token:
        return drain_spool(engine, token, folder, NAMES)


def count(engine: Engine) -> int:
    with engine.connect() as connection:
        return connection.scalar(select(func.count()).select_from(outcomes)) or 0


def test_each_record_is_drained_once(engine, tmp_path):
    give(tmp_path, 1, 2)
    assert undrained_feedback(engine, tmp_path) == 1
    assert drain(engine, tmp_path).new == 2
    assert (undrained_feedback(engine, tmp_path), drain(engine, tmp_path).new) == (0, 0)
    give(tmp_path, 1, 2, request="r")  # a retry that another worker got
    give(tmp_path, 3, 9, request="s")
    assert drain(engine, tmp_path) == RecordedOutcomes(2, 2, 1)


def test_a_flipped_bit_hides_one_record_and_is_printed(engine, tmp_path, capsys):
    path = give(tmp_path, 1, 2, 3)
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)
    assert drain(engine, tmp_path).new == 2
    assert "truths that cannot be read: at least 1" in capsys.readouterr().out
    [state] = spool_states(engine, tmp_path)
    assert (len(state.damage), state.waiting, state.lost) == (1, 0, 0)


def test_a_kill_between_two_parts_loses_and_doubles_nothing(engine, tmp_path, monkeypatch):
    give(tmp_path, 1, 2, 3)
    monkeypatch.setattr(feedback_spool, "CHUNK", 1)
    taken = 0
    record = feedback_spool.record_outcomes

    def killed(*given):
        nonlocal taken
        taken += 1
        if taken == 3:
            raise KeyboardInterrupt
        return record(*given)

    monkeypatch.setattr(feedback_spool, "record_outcomes", killed)
    with pytest.raises(KeyboardInterrupt):
        drain(engine, tmp_path)
    assert count(engine) == 2
    [state] = spool_states(engine, tmp_path)
    assert state.waiting == 1 and state.waits_since is not None and state.waits_since <= now()
    assert (drain(engine, tmp_path).new, count(engine)) == (1, 3)
