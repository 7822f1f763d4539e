from pathlib import Path

from core import journal
from core.database import now, writing
from models.serving.prediction_store import predictions
from tasks.audit_rows import served_groups
from tests.labeling.databases import make_engine


def test_a_group_is_served_when_the_model_answered_one_of_its_images(tmp_path: Path) -> None:
    engine = make_engine(tmp_path, ["a", "b", "c", "d"], {"b": "a"})
    answered = [("b", "hone:1"), ("c", "hone:2"), ("d", "hone:1"), ("e", "hone:1")]
    rows = [
        {
            "prediction_id": f"p{place}", "seq": place, "request_id": "r", "model": model,
            "sample_id": name, "segment": "s", "offset": 0, "length": 1, "label": "cat",
            "confidence": 1.0, "probabilities": [1.0], "needs_review": False, "served_at": now(),
            "embedding": None,
        }
        for place, (name, model) in enumerate(answered, start=1)
    ]  # fmt: skip
    with writing(engine) as connection:
        journal.insert(connection, predictions, rows)
        assert served_groups(connection, "hone:1", ["a", "c"]) == {"a"}
        assert served_groups(connection, "hone:1", ["a", "c", "d", "x"]) == {"a", "d"}
        assert served_groups(connection, "hone:2", ["a"]) == set()
        assert served_groups(connection, "hone:1", []) == set()
