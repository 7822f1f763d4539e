"""Rows of a window are drawn evenly from all new traffic, at a cost that follows the window."""

from pathlib import Path

import numpy as np
import pytest
from sqlalchemy import Connection, Engine, insert, update

from core.database import connect, upgrade, writing
from labeling.ledger.tables import samples
from models.serving import traffic_window
from models.serving.prediction_store import predictions
from models.serving.traffic_window import NewTraffic, draw_rows, new_traffic, referred_rows
from models.watching.decisions import Evaluation, load_state, record_evaluation
from models.watching.signals import Action
from tests.counted_work import instructions_run

BACKLOG = 100_000  # rows: a day of 4,000 images an hour


@pytest.fixture
def engine(tmp_path: Path) -> Engine:
    engine = connect(f"sqlite:///{tmp_path / 'hone.sqlite'}")
    upgrade(engine)
    return engine


def serve(engine: Engine, first: int, count: int, model: str = "hone:a") -> None:
    rows = [
        {
            "prediction_id": f"p{seq}", "seq": seq, "request_id": "r", "model": model,
            "sample_id": f"s{seq}", "segment": "x.seg", "offset": 0, "length": 1, "label": "cat",
            "confidence": 0.9, "probabilities": [0.9, 0.1], "needs_review": False,
            "served_at": f"2026-01-01T{seq:07}",
        }
        for seq in range(first, first + count)
    ]  # fmt: skip
    with writing(engine) as connection:
        connection.execute(insert(predictions), rows)


def traffic(engine: Engine, after: int = 0, up_to: int | None = None) -> NewTraffic:
    with engine.connect() as connection:
        return new_traffic(connection, "hone:a", after, up_to)


def test_new_traffic_is_counted_by_model(engine: Engine) -> None:
    assert traffic(engine) == NewTraffic("hone:a", 0)
    serve(engine, 1, 10)
    serve(engine, 11, 3, "hone:canary")
    new = traffic(engine, after=4)
    assert (new.rows, new.last_seq, new.others) == (6, 10, {"hone:canary": 3})
    assert (new.oldest_at, new.newest_at) == ("2026-01-01T0000005", "2026-01-01T0000010")
    assert traffic(engine, up_to=7).rows == 7
    assert traffic(engine, after=10) == NewTraffic("hone:a", 10, 0, 10, others={"hone:canary": 3})


def test_few_rows_are_taken_whole_and_no_other_models(engine: Engine) -> None:
    serve(engine, 1, 5)
    serve(engine, 6, 5, "hone:canary")
    serve(engine, 11, 5)
    with engine.connect() as connection:
        rows = draw_rows(connection, traffic(engine, after=2), 100, np.random.default_rng(0))
    assert rows["seq"].tolist() == [3, 4, 5, 11, 12, 13, 14, 15]
    assert rows["probabilities"][0] == [0.9, 0.1]


def test_of_a_backlog_no_more_rows_than_the_window_are_read_from_all_parts_of_it(
    engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    serve(engine, 1, BACKLOG)
    read: list[int] = []
    real = traffic_window.chunks

    def counted(keys, **more):
        read.append(len(keys))
        return real(keys, **more)

    monkeypatch.setattr(traffic_window, "chunks", counted)
    with engine.connect() as connection:
        rows = draw_rows(connection, traffic(engine), 1000, np.random.default_rng(0))
    assert sum(read) == len(rows) <= 1000
    in_each_hour, _ = np.histogram(rows["seq"], bins=20, range=(1, BACKLOG + 1))
    assert in_each_hour.min() >= 49  # of 50


def test_the_first_look_at_a_new_champion_costs_what_is_new_however_much_was_served(
    engine: Engine,
) -> None:
    steps: list[int] = []
    for served in (1_000, 20_000):  # by the model before, all of it checked
        first = 1 if not steps else 1_041
        serve(engine, first, served)
        checked = Evaluation("hone:a", first, first + served - 1, Action.NONE, "none", "no drift")
        with writing(engine) as connection:
            record_evaluation(connection, checked)
        model = f"hone:{served}"
        serve(engine, first + served, 40, model)
        with engine.connect() as connection:

            def look(connection: Connection = connection, model: str = model) -> NewTraffic:
                return new_traffic(connection, model, load_state(connection, model).last_seq)

            assert look().rows == 40
            steps.append(instructions_run(connection, look))
    assert steps[1] < 1.1 * steps[0]  # twenty times as much was served


def test_erased_images_that_are_no_samples_take_no_place_of_marked_ones(
    engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(traffic_window, "MOST_REFERRED", 3)
    serve(engine, 1, 9)
    sample = {
        "sample_id": "s9", "shard": "a", "offset": 0, "length": 1, "stored_sha256": "b",
        "format": "PNG", "width": 1, "height": 1, "thumbnail": b"", "group_id": "s9",
        "origin": "served", "added_at": "2026",
    }  # fmt: skip
    with writing(engine) as connection:
        connection.execute(insert(samples), [sample])
        connection.execute(update(predictions).values(needs_review=True))
        connection.execute(update(predictions).where(predictions.c.seq > 4).values(erased=1))
        assert list(referred_rows(connection, "2000")) == ["s9", "s4", "s3"]
