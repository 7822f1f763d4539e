"""A round that answers a drift asks about its window: what moved most, and a random part."""

from pathlib import Path

import pytest
from sqlalchemy import Engine, insert

from core.database import writing
from models.serving.prediction_store import predictions
from models.watching.decisions import Evaluation, find_decision, record_evaluation
from models.watching.incidents import find_incident, next_incident, open_incident
from models.watching.signals import Action
from tasks.label import choose
from tests.tasks.label.test_choose import (  # noqa: F401 - fixtures
    AUDIT,
    LABELLED,
    NAMES,
    Eyes,
    chosen,
    engine,
    eyes,
)

POOL = NAMES[LABELLED + AUDIT :]
BEFORE, WINDOW = POOL[:20], POOL[20:60]  # served before the window, and in it
MOVED = WINDOW[:6]
AWAY = "not-a-sample-yet"


def serve(engine: Engine, names: list[str]) -> None:  # noqa: F811
    rows = [
        {
            "prediction_id": f"p-{name}", "seq": seq, "request_id": "r", "model": "hone:1",
            "sample_id": name, "segment": "x.seg", "offset": 0, "length": 1, "label": "cat",
            "confidence": 0.9, "probabilities": [0.9, 0.1], "needs_review": False,
            "served_at": "2026-01-01T00:00:00",
        }
        for seq, name in enumerate(names, start=1)
    ]  # fmt: skip
    with writing(engine) as connection:
        connection.execute(insert(predictions), rows)


@pytest.fixture
def decision(engine: Engine) -> str:  # noqa: F811
    """A drift in the second part of the traffic, with six exemplars and one image to come."""
    serve(engine, [*BEFORE, *WINDOW, AWAY])
    with writing(engine) as connection:
        incident = next_incident(connection)
        made = Evaluation(
            "hone:1", 21, 61, Action.LABEL_SERVED, "label", "The traffic has drifted.",
            exemplars=[f"p-{name}" for name in (AWAY, *MOVED)], incident_id=incident,
        )  # fmt: skip
        decision_id = record_evaluation(connection, made)
        open_incident(connection, decision_id, model="hone:1", kind=None, step="label")
    return decision_id


def test_the_batch_is_of_the_window_that_drifted(
    engine: Engine,  # noqa: F811
    eyes: Eyes,  # noqa: F811
    decision: str,
) -> None:
    batch = chosen(engine, size=20, strategy="margin", audit_share=0.1)
    by_reason = batch.groupby("reason")["sample_id"].apply(set).to_dict()
    assert by_reason["drift"] == set(MOVED)
    assert len(by_reason["drifted"]) == 9 and by_reason["drifted"] <= set(WINDOW) - set(MOVED)
    assert len(by_reason["audit"]) == 5  # a verdict needs them
    assert len(batch) == 20
    places = batch.set_index("sample_id")["position"]
    assert places[MOVED].tolist() == sorted(places[MOVED]), "what moved most is asked first"


def test_at_most_half_of_it_are_exemplars(
    engine: Engine,  # noqa: F811
    eyes: Eyes,  # noqa: F811
    decision: str,
) -> None:
    batch = chosen(engine, size=10, strategy="margin", audit_share=0.0)
    counts = batch["reason"].value_counts()
    assert (counts["drift"], counts["drifted"]) == (4, 4)


def test_the_round_answers_the_decision_and_is_in_the_incident(
    engine: Engine,  # noqa: F811
    eyes: Eyes,  # noqa: F811
    decision: str,
) -> None:
    chosen(engine, size=20, strategy="margin")
    assert find_decision(engine, decision).answered_by == "round-0001"
    with engine.connect() as connection:
        event = find_incident(connection).last("round")
    assert event is not None and event.detail["round"] == "round-0001"


def test_without_a_drift_no_sample_is_asked_for_it(
    engine: Engine,  # noqa: F811
    eyes: Eyes,  # noqa: F811
) -> None:
    serve(engine, [*BEFORE, *WINDOW])
    batch = chosen(engine, size=20, strategy="margin")
    assert not {"drift", "drifted"} & set(batch["reason"])


@pytest.mark.parametrize("part", ["take_in_referred", "take_in_shadow"])
def test_what_comes_first_leaves_an_open_drift_its_places(
    engine: Engine,  # noqa: F811
    eyes: Eyes,  # noqa: F811
    decision: str,
    monkeypatch: pytest.MonkeyPatch,
    part: str,
) -> None:
    monkeypatch.setattr(choose, part, lambda *_: POOL[60:])
    root = Path(str(engine.url.database)).parent
    with (root / "hone.toml").open("a") as file:
        file.write("[review]\nshare = 1.0\n[release]\nlabel_share = 1.0\n")
    batch = chosen(engine, size=10, strategy="margin", audit_share=0.0)
    counts = batch["reason"].value_counts().to_dict()
    first = {"take_in_referred": "referred", "take_in_shadow": "shadow"}[part]
    assert counts == {first: 2, "drift": 4, "drifted": 4}
    with engine.connect() as connection:
        event = find_incident(connection).last("round")
    assert event is not None and event.detail["images"] == "8"
