"""Sources are counted by name for so many a day, whatever clients make up."""

from pathlib import Path

from sqlalchemy import Engine, func, select

from core.hone_toml import LabelClass
from core.workspace import Workspace
from models.watching.outcome_checks import truths_follow_from_outcomes
from models.watching.outcome_queries import counts_by_slice
from models.watching.outcome_tables import slice_names, truth_counts, truths
from models.watching.slices import MOST_NAMES, OTHER, slices_of
from tests.models.watching.feedback_given import CLASSES, make_engine, record, serve, truth


def findings(engine: Engine, folder: Path) -> list[str]:
    classes = tuple(LabelClass(name, name[0]) for name in CLASSES)
    workspace = Workspace(folder, "", "", classes, 8)
    return [one.what for one in truths_follow_from_outcomes(engine, workspace)]


def test_a_client_that_makes_up_names_makes_a_bounded_number_of_counts(tmp_path: Path) -> None:
    engine = make_engine(tmp_path)
    made_up = MOST_NAMES + 60
    for number in range(1, made_up + 1):
        serve(engine, ["cat"], first=number, source=f"camera {number}")
    for start in range(1, made_up + 1, 40):  # in parts, as a spool is drained
        record(engine, *(truth(number, "cat") for number in range(start, start + 40)))
    with engine.connect() as connection:
        counts = connection.execute(select(truth_counts)).all()
        others = counts_by_slice(connection, "hone:0001-a", most=999)[OTHER]
        assert connection.scalar(select(func.count()).select_from(slice_names)) == MOST_NAMES
    assert len(counts) == MOST_NAMES + 1
    assert others == {("cat", "cat"): made_up - MOST_NAMES}
    assert findings(engine, tmp_path) == []
    record(engine, truth(1, "dog", under="again"))  # corrected: in its slice as before
    record(engine, truth(made_up, "dog", under="again"))
    with engine.connect() as connection:
        query = select(truths.c.slice).where(truths.c.truth == "dog").order_by(truths.c.number)
        assert connection.scalars(query).all() == ["camera 1", OTHER]
    assert findings(engine, tmp_path) == []


def test_another_day_has_names_of_its_own_and_no_source_needs_none(tmp_path: Path) -> None:
    engine = make_engine(tmp_path)
    with engine.connect() as connection:
        names = [("2026-01-01", f"camera {number}") for number in range(MOST_NAMES + 1)]
        places = [*names, ("2026-01-01", ""), ("2026-01-02", "camera 100")]
        slices = slices_of(connection, places)
    assert slices[names[-1]] == OTHER
    assert slices["2026-01-01", ""] == ""
    assert slices["2026-01-02", "camera 100"] == "camera 100"
