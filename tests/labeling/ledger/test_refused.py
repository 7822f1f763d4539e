from pathlib import Path

from sqlalchemy import insert

from core.database import writing
from labeling.ledger.refused import list_refused_answers, list_refused_files
from labeling.ledger.tables import refusals
from tests.labeling.databases import make_engine


def test_the_newest_refused_file_comes_first_and_reasons_are_filtered(tmp_path: Path) -> None:
    engine = make_engine(tmp_path, ["a"])
    about = {"size": 3, "mtime_ns": 1, "detail": ""}
    with writing(engine) as connection:
        for path, reason, day in (("x", "EMPTY", 1), ("y", "TRUNCATED", 2), ("z", "EMPTY", 3)):
            row = {"path": path, "reason": reason, "refused_at": f"2026-01-0{day}", **about}
            connection.execute(insert(refusals).values(**row))
        every = list_refused_files(connection)
        empty = list_refused_files(connection, reason="EMPTY", limit=1)
        assert list_refused_answers(connection) == []
    assert [row.path for row in every] == ["z", "y", "x"]
    assert [(row.path, row.size) for row in empty] == [("z", 3)]
