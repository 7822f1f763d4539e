"""What a report reads of the ledger: sums over answers, and the audit images with a label."""

from pathlib import Path

import pytest
from sqlalchemy import Engine, insert

from core.database import now, writing
from labeling.ledger.page_queries import (
    Share,
    agreed_samples,
    file_names,
    labelled_audit,
    past_duels,
    past_snapshots,
    right_on_gold,
)
from labeling.ledger.tables import answers, duels, gold, labels, snapshots, sources
from tests.labeling.databases import make_engine, put_in_audit

GIVEN = [  # sample, annotator, kind, value, withdrawn
    ("a", "ann", "answer", "cat", None),
    ("a", "ben", "answer", "cat", None),
    ("b", "ann", "answer", "cat", None),
    ("b", "ben", "answer", "dog", None),
    ("b", "cid", "answer", "dog", "2026-01-01"),
    ("c", "ann", "answer", "cat", None),
    ("g", "ann", "answer", "dog", None),
    ("g", "ben", "answer", "cat", None),
    ("g", "cid", "skip", None, None),
    ("g", "dan", "answer", "dog", "2026-01-01"),
]


@pytest.fixture
def engine(tmp_path: Path) -> Engine:
    engine = make_engine(tmp_path, ["a", "b", "c", "g"])
    put_in_audit(engine, ["a", "b"])
    rows = [
        {"source": "here", "external_id": f"{sample}:{who}", "sample_id": sample, "annotator": who,
         "kind": kind, "value": value, "updated_at": "1", "digest": who, "seen_at": now(),
         "replaced_at": withdrawn}
        for sample, who, kind, value, withdrawn in GIVEN
    ]  # fmt: skip
    label = {"label": "cat", "trust": 1.0, "annotators": [], "method": "single"}
    with writing(engine) as connection:
        connection.execute(insert(answers), rows)
        connection.execute(insert(gold).values(sample_id="g", label="dog", source="x",
                                               added_at=now()))  # fmt: skip
        for name in ("a", "c"):
            connection.execute(insert(labels).values(sample_id=name, **label, settled_at=now()))
    return engine


def test_answers_in_force_are_measured_on_known_classes_and_on_each_other(engine: Engine) -> None:
    with engine.connect() as connection:
        assert right_on_gold(connection) == Share(1, 2)
        assert agreed_samples(connection) == Share(1, 3)  # a; not b and g


def test_nothing_measured_is_none_of_none(tmp_path: Path) -> None:
    with make_engine(tmp_path, []).connect() as connection:
        assert right_on_gold(connection) == Share(0, 0) == agreed_samples(connection)
        assert past_duels(connection, most=3) == [] == past_snapshots(connection, most=3)
        assert labelled_audit(connection, []).empty


def test_audit_images_count_once_they_have_a_label(engine: Engine) -> None:
    with engine.connect() as connection:
        rows = labelled_audit(connection, ["a", "b", "c", "elsewhere"])
    assert rows[["sample_id", "label"]].to_numpy().tolist() == [["a", "cat"]]


def test_the_newest_snapshots_and_duels_and_one_file_of_each_sample(engine: Engine) -> None:
    frozen = {"fingerprint": "f", "table_sha256": "t", "commit": "c", "seed": 0}
    with writing(engine) as connection:
        for n in (1, 2, 3):
            named = {"name": f"s{n}", "number": n, "rows": n, "created_at": f"{n}"}
            connection.execute(insert(snapshots).values(**frozen, **named))
            duel = {"duel_id": f"d{n}", "champion": f"{n}", "challenger": "x", "snapshot": "s"}
            duel |= {"approval": "verdict", "began_at": f"{n}"}
            connection.execute(insert(duels).values(**duel, number=n, plan={}))
        for path in ("/b.png", "/a.png"):
            file = {"path": path, "sample_id": "a", "size": 1, "mtime_ns": 1, "seen_at": "1"}
            connection.execute(insert(sources).values(**file))
        assert [one.name for one in past_snapshots(connection, most=2)] == ["s3", "s2"]
        assert [one.duel_id for one in past_duels(connection, most=2)] == ["d3", "d2"]
        assert file_names(connection, ["a", "b"]) == {"a": "/a.png"}
