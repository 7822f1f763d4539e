"""What was served lately: every row of a short history, an even sample of a long one."""

from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from sqlalchemy import Engine, event, insert

from core.database import connect, upgrade, writing
from models.serving.prediction_store import predictions
from models.serving.traffic_history import traffic_since

START = datetime(2026, 1, 1, tzinfo=UTC)
COUNT = 5_000  # a prediction an hour


def served_at(number: int) -> str:
    return (START + timedelta(hours=number)).isoformat()


@pytest.fixture(scope="module")
def engine(tmp_path_factory: pytest.TempPathFactory) -> Engine:
    folder: Path = tmp_path_factory.mktemp("traffic")
    engine = connect(f"sqlite:///{folder / 'hone.sqlite'}")
    upgrade(engine)
    rows = [
        {"prediction_id": f"p{n}", "seq": n, "request_id": "r", "model": "hone:1", "sample_id": "s",
         "segment": "x.seg", "offset": 0, "length": 1, "label": "cat" if n % 2 else "dog",
         "confidence": 0.5, "probabilities": [1.0], "needs_review": n % 4 == 0,
         "served_at": served_at(n)}
        for n in range(1, COUNT + 1)
    ]  # fmt: skip
    with writing(engine) as connection:
        connection.execute(insert(predictions), rows)
    return engine


def test_each_prediction_of_the_period_is_read_once(engine: Engine) -> None:
    with engine.connect() as connection:
        sample = traffic_since(connection, served_at(COUNT - 99))
    assert sample.step == 1
    assert [row.served_at for row in sample.rows] == [
        served_at(n) for n in range(COUNT - 99, COUNT + 1)
    ]
    assert sum(row.needs_review for row in sample.rows) == 25


def test_a_long_period_is_sampled_evenly_at_a_bounded_cost(engine: Engine) -> None:
    asked: list[str] = []
    with engine.connect() as connection:
        event.listen(connection, "before_cursor_execute", lambda *call: asked.append(call[2]))
        sample = traffic_since(connection, served_at(0), most=500)
    assert (sample.step, len(sample.rows)) == (10, 500)
    days = {row.served_at[:7] for row in sample.rows}
    assert days == {served_at(n)[:7] for n in range(1, COUNT + 1)}
    assert len(asked) < 20  # as many for any number of predictions, but for the halving


@pytest.mark.parametrize(
    ("since", "count"), [(served_at(COUNT), 1), (served_at(COUNT + 1), 0), ("2030", 0)]
)
def test_nothing_newer_is_no_row(engine: Engine, since: str, count: int) -> None:
    with engine.connect() as connection:
        assert len(traffic_since(connection, since).rows) == count
