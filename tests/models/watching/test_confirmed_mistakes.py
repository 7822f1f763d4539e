"""The surest of the served answers that people confirmed to be wrong."""

from pathlib import Path

import pytest
from sqlalchemy import insert

from core.database import connect, upgrade, writing
from models.serving.prediction_store import predictions
from models.watching import confirmed_mistakes as mistakes
from models.watching.outcome_tables import Standing, truths

SERVED = [  # model, truth, standing, confidence; each was answered with cat
    ("hone:1", "dog", Standing.JUDGES, 0.6),
    ("hone:1", "dog", Standing.JUDGES, 0.9),
    ("hone:1", "cat", Standing.JUDGES, 0.99),
    ("hone:1", "dog", Standing.TRAINS, 0.95),
    ("hone:2", "dog", Standing.JUDGES, 0.97),
    ("hone:1", "eel", Standing.JUDGES, 0.8),
]


def test_the_surest_mistakes_of_a_model_come_first(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    engine = connect(f"sqlite:///{tmp_path / 'hone.sqlite'}")
    upgrade(engine)
    with writing(engine) as connection:
        for n, (model, truth, standing, confidence) in enumerate(SERVED, start=1):
            one = {"prediction_id": f"p{n}", "model": model, "sample_id": "s", "label": "cat"}
            place = {"segment": "x.seg", "offset": 0, "length": 1, "request_id": "r"}
            answer = {"confidence": confidence, "probabilities": [1.0], "needs_review": False}
            connection.execute(
                insert(predictions).values(**one, **place, **answer, seq=n, served_at="2026")
            )
            judged = {"number": n, "hour": "2026-01-01T01", "slice": "", "truth": truth}
            connection.execute(insert(truths).values(**one, **judged, standing=standing))
        rows = mistakes.confirmed_mistakes(connection, "hone:1", most=9)
        assert [(row.prediction_id, row.truth) for row in rows] == [
            ("p2", "dog"), ("p6", "eel"), ("p1", "dog"),
        ]  # fmt: skip
        assert len(mistakes.confirmed_mistakes(connection, "hone:1", most=1)) == 1
        monkeypatch.setattr(mistakes, "NEWEST", 4)
        rows = mistakes.confirmed_mistakes(connection, "hone:1", most=9)
        assert [row.prediction_id for row in rows] == ["p6"]
