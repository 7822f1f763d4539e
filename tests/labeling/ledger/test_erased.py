"""Which samples may be erased: none that somebody decided about, or is asked about."""

from pathlib import Path

import pytest
from sqlalchemy import Connection, Engine, select

from core import journal
from core.database import now, writing
from labeling.ledger.erased import (
    bound,
    erased_before,
    erased_samples,
    forget_samples,
    old_unanswered,
    undone,
)
from labeling.ledger.tables import (
    answers,
    assignments,
    audit,
    duel_samples,
    duels,
    gold,
    labels,
    rounds,
    sample_states,
    samples,
)
from tests.labeling.databases import make_engine, put_in_audit

NAMES = [f"served-{number}" for number in range(8)]
FREE, IN_AUDIT, IN_ROUND, SHOWN, ANSWERED, LABELLED, GOLD, IN_DUEL = NAMES
FOREVER = "9999"


@pytest.fixture
def engine(tmp_path: Path) -> Engine:
    engine = make_engine(tmp_path, [*NAMES, "ingested"])
    put_in_audit(engine, [IN_AUDIT])
    with writing(engine) as connection:
        about = {"strategy": "margin", "seed": 0, "config": {}, "why": "", "chosen_at": now()}
        journal.insert(connection, rounds, [{"round_id": "round-0001", "number": 1, **about}])
        asked = {"round_id": "round-0001", "sample_id": IN_ROUND, "position": 0}
        asked |= {"reason": "margin", "most_similar": SHOWN}
        journal.insert(connection, assignments, [asked])
        given = {"source": "here", "external_id": "1", "annotator": "ann", "kind": "skip"}
        given |= {"updated_at": "1", "digest": "1", "seen_at": now(), "replaced_at": now()}
        journal.insert(connection, answers, [{"sample_id": ANSWERED, **given}])
        label = {"label": "cat", "trust": 1.0, "annotators": [], "method": "single"}
        label |= {"settled_at": now(), "replaced_at": now()}
        journal.insert(connection, labels, [{"sample_id": LABELLED, **label}])
        row = {"sample_id": GOLD, "label": "cat", "source": "ann", "added_at": now()}
        journal.insert(connection, gold, [row])
        duel = {"duel_id": "duel-0001", "number": 1, "champion": "a", "challenger": "b"}
        duel |= {"snapshot": "s", "approval": "verdict", "began_at": now()}
        journal.insert(connection, duels, [{**duel, "plan": {}}])
        drawn = {"duel_id": "duel-0001", "sample_id": IN_DUEL, "population": "pool"}
        outputs: dict[str, object] = {"champion_output": {}, "challenger_output": {}}
        journal.insert(connection, duel_samples, [{**drawn, **outputs, "position": 0}])
    return engine


def old(connection: Connection, before: str = FOREVER, **spared: set[str]) -> list[str]:
    return old_unanswered(connection, before, **spared)


def test_only_old_samples_of_the_traffic_that_nobody_decided_about_are_erased(
    engine: Engine,
) -> None:
    with engine.connect() as connection:
        assert old(connection) == [FREE, IN_AUDIT]
        assert old(connection, "2020") == []
        assert old(connection, spared={FREE}) == [IN_AUDIT]


def test_each_other_sample_is_bound_for_a_reason_that_is_named(engine: Engine) -> None:
    with engine.connect() as connection:
        reasons = bound(connection, [*NAMES, "ingested"])
    wanted = {
        IN_ROUND: "in a round that is open", SHOWN: "may be looking", ANSWERED: "was answered",
        LABELLED: "has or had a label", GOLD: "gold", IN_DUEL: "the duel under way",
    }  # fmt: skip
    assert reasons.keys() == wanted.keys()
    assert all(what in reasons[name] for name, what in wanted.items())


def test_what_is_over_binds_no_sample(engine: Engine) -> None:
    with writing(engine) as connection:
        journal.update(connection, rounds, closed_at=now())
        journal.update(connection, assignments, closed_at=now(), outcome="deleted")
        journal.update(connection, duels, ended_at=now())
        assert set(old(connection)) == {FREE, IN_AUDIT, IN_ROUND, SHOWN, IN_DUEL}
        forget_samples(connection, 1, [IN_ROUND, IN_DUEL])
        assert connection.scalars(select(assignments.c.sample_id)).all() == [IN_ROUND]


def test_a_batch_of_samples_touches_few_shards(
    engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("labeling.ledger.erased.SHARDS_AT_ONCE", 1)
    with writing(engine) as connection:
        journal.update(connection, samples, samples.c.sample_id == IN_AUDIT, shard="t.tar")
        assert old(connection) == [FREE]


def test_nothing_is_left_of_a_forgotten_sample_but_where_its_bytes_are(engine: Engine) -> None:
    with writing(engine) as connection:
        forget_samples(connection, 3, [IN_AUDIT])
        row = connection.execute(select(erased_samples)).one()
        assert (row.number, row.sample_id, row.shard, row.length) == (3, IN_AUDIT, "s.tar", 1)
        assert undone(connection) == [3]
        assert erased_before(connection, NAMES) == {IN_AUDIT}
        for table in (samples, audit, sample_states):
            assert IN_AUDIT not in connection.scalars(select(table.c.sample_id)).all()
