"""A database with served predictions, and truths about them."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from sqlalchemy import Engine

from core import journal
from core.database import connect, upgrade, writing
from models.serving.feedback_records import Feedback, checked_feedback
from models.serving.prediction_store import predictions
from models.watching.outcomes import ClassNames, RecordedOutcomes, record_outcomes

CLASSES = ("cat", "dog", "eel")
NAMES = ClassNames(CLASSES)
NOON = "2026-01-01T12:00:00.000000+00:00"
LATER = "2026-01-02T00:00:00.000000+00:00"  # when truths are received


def prediction_id(number: int) -> str:
    return f"{number:032x}"


def make_engine(folder: Path, labels: Sequence[str] = ()) -> Engine:
    """An empty database with one prediction for each label, all served at noon."""
    engine = connect(f"sqlite:///{folder / 'hone.sqlite'}")
    upgrade(engine)
    serve(engine, labels)
    return engine


def serve(engine: Engine, labels: Sequence[str], *, first: int = 1, **changes: Any) -> None:
    rows = [
        {
            "prediction_id": prediction_id(number), "seq": number, "request_id": f"r{number}",
            "model": "hone:0001-a", "sample_id": f"sample {number}", "segment": "a.seg",
            "offset": 0, "length": 1, "label": label, "confidence": 0.75,
            "probabilities": [0.75, 0.25, 0.0], "needs_review": False, "served_at": NOON,
            "embedding": None, "source": None, "statistics": None, **changes,
        }
        for number, label in enumerate(labels, start=first)
    ]  # fmt: skip
    with writing(engine) as connection:
        journal.insert(connection, predictions, rows)


def truth(number: int, value: str, who: str = "ada", **more: Any) -> Feedback:
    """A confirmed truth about the prediction of a number."""
    given = {"prediction_id": prediction_id(number), "truth": value, "who": who}
    given |= {"strength": "confirmed"} | more
    under = str(given.pop("under", ""))
    return checked_feedback(given, received_at=LATER, source="test", under=under)


def record(engine: Engine, *given: Feedback) -> RecordedOutcomes:
    with writing(engine) as connection:
        return record_outcomes(connection, given, NAMES)
