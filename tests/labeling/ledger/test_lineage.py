from pathlib import Path

from sqlalchemy import insert

from core.database import now, writing
from labeling.ledger.lineage import find_snapshot, label_origin, sample_origin
from labeling.ledger.tables import labels, sources
from tests.labeling.databases import make_engine


def test_a_sample_leads_to_its_files_and_to_the_label_in_force(tmp_path: Path) -> None:
    engine = make_engine(tmp_path, ["a"])
    label = {"sample_id": "a", "trust": 1.0, "annotators": ["ann"], "method": "single"}
    with writing(engine) as connection:
        for path in ("/second.png", "/first.png"):
            row = {"path": path, "sample_id": "a", "size": 1, "mtime_ns": 1, "seen_at": now()}
            connection.execute(insert(sources).values(**row))
        for name, replaced_at in (("cat", now()), ("dog", None)):
            times = {"settled_at": now(), "replaced_at": replaced_at}
            connection.execute(insert(labels).values(**label, **times, label=name))
        origin, settled = sample_origin(connection, "a"), label_origin(connection, "a")
        assert sample_origin(connection, "b") is None and label_origin(connection, "b") is None
        assert find_snapshot(connection, "snapshot-0001") is None
    assert origin is not None and origin.sources == ["/first.png", "/second.png"]
    assert settled is not None and (settled.label, settled.annotators) == ("dog", ["ann"])
