"""Each further record of a prediction is on record once, and no first one is."""

import shutil
from pathlib import Path

from sqlalchemy import Engine, select, update

from core.database import writing
from models.serving.copies import copies
from models.serving.prediction_store import drain, segments
from tests.models.serving.test_prediction_store import (  # noqa: F401 - fixtures
    engine,
    template,
    write,
)


def recorded(engine: Engine) -> list[tuple[str, str]]:  # noqa: F811
    with engine.connect() as connection:
        rows = connection.execute(select(*copies.c["segment", "prediction_id"]))
        return sorted(rows.tuples().all())


def test_a_further_record_is_a_copy_and_the_first_is_none(
    engine: Engine,  # noqa: F811
    tmp_path: Path,
) -> None:
    first = write(tmp_path, [b"a", b"b"])
    again = write(tmp_path, [b"a"])
    assert drain(engine, tmp_path) == 2
    assert [name for _, name in recorded(engine)] == ["prediction-0"]
    third = first.with_name(f"x{first.name}")
    shutil.copy(first, third)
    assert drain(engine, tmp_path) == 0
    once = recorded(engine)
    assert sorted(name for _, name in once) == ["prediction-0"] * 2 + ["prediction-1"]
    assert third.name in {name for name, _ in once} and len({first, again, third}) == 3
    with writing(engine) as connection:
        connection.execute(update(segments).values(drained_to=0))
    assert drain(engine, tmp_path) == 0
    assert recorded(engine) == once
