"""Groups that become one later are as those that an intake joined."""

from pathlib import Path

import pytest
from sqlalchemy import Engine, select

from core.locks import LockBusy, only_writer
from labeling.ingest import join_copies as joining
from labeling.ingest.join_copies import join_copies
from labeling.ledger.samples import groups_of
from labeling.ledger.tables import sample_states
from tests.labeling.databases import make_engine, put_in_audit

NAMES = list("abcdef")


@pytest.fixture
def engine(tmp_path: Path) -> Engine:
    return make_engine(tmp_path, NAMES)


def groups(engine: Engine) -> dict[str, str]:
    with engine.connect() as connection:
        return groups_of(connection, NAMES)


def test_pairs_that_share_a_sample_make_one_group_of_the_smallest_name(engine: Engine) -> None:
    assert join_copies(engine, [("d", "b"), ("e", "d")]) == {"d", "e"}
    assert groups(engine) == dict(zip(NAMES, "abcbbf", strict=True))
    assert join_copies(engine, [("b", "e")]) == join_copies(engine, []) == set()
    assert join_copies(engine, [("e", "a")]) == {"b"}
    assert groups(engine) == dict(zip(NAMES, "aacaaf", strict=True))


def test_a_copy_of_an_audit_sample_is_held_back_from_then_on(engine: Engine) -> None:
    put_in_audit(engine, ["c"])
    join_copies(engine, [("c", "e")])
    with engine.connect() as connection:
        rows = connection.execute(select(*sample_states.c["sample_id", "state"])).tuples()
        states = dict(rows.all())
    assert {name for name in NAMES if states[name] == "held"} == {"c", "e"}


def test_while_an_intake_is_under_way_nothing_is_joined(
    engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(joining, "PATIENCE", 0.0)
    with only_writer(engine, "intake"), pytest.raises(LockBusy):
        join_copies(engine, [("a", "b")])
    assert groups(engine) == {name: name for name in NAMES}
