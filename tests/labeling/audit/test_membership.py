from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import Engine, insert, select

from core import journal
from core.database import now, writing
from labeling.audit.membership import (
    draw_new_groups,
    draw_standing_audit,
    key_of,
    make_key,
    set_key,
)
from labeling.audit.numbers import AuditPolicy, Part, audit_number
from labeling.ledger.tables import assignments, audit, gold, rounds, samples
from tests.labeling.databases import make_engine

KEY = b"a key"
NAMES = [f"sample-{number:04}" for number in range(400)]


@pytest.fixture
def engine(tmp_path: Path) -> Engine:
    engine = make_engine(tmp_path, NAMES)
    with writing(engine) as connection:
        set_key(connection, KEY)
    return engine


def draw(engine: Engine, **policy: float) -> int:
    with writing(engine) as connection:
        return draw_standing_audit(connection, AuditPolicy(**policy))


def rows(engine: Engine) -> dict[str, Any]:
    with engine.connect() as connection:
        return {row.sample_id: row for row in connection.execute(select(audit))}


def below(share: float) -> set[str]:
    return {name for name in NAMES if audit_number(KEY, name) < share}


def test_the_audit_is_every_group_below_the_share(engine: Engine) -> None:
    assert draw(engine) == len(below(0.2))
    drawn = rows(engine)
    assert drawn.keys() == below(0.2)
    one = next(iter(drawn.values()))
    assert (one.round_id, one.inclusion_probability, one.report_share) == (None, 0.2, 0.3)
    assert {row.part for row in drawn.values()} == set(Part)
    assert draw(engine) == 0


def test_a_raised_share_adds_and_a_lowered_one_removes_nobody(engine: Engine) -> None:
    draw(engine, share=0.1)
    first = rows(engine)
    draw(engine, share=0.3, report_share=0.9)
    raised = rows(engine)
    assert raised.keys() == below(0.3)
    assert {name: raised[name] for name in first} == first  # parts and shares stay
    assert draw(engine, share=0.05) == 0
    assert rows(engine) == raised
    assert draw(engine, share=0.2) == 0
    assert rows(engine) == raised


def test_no_share_is_no_audit(engine: Engine) -> None:
    assert draw(engine, share=0) == 0


def test_a_group_is_in_by_the_sample_that_founded_it(tmp_path: Path) -> None:
    names = sorted(below(0.2))[:2] + sorted(set(NAMES) - below(0.2))[:2]
    low, lower, high, higher = names
    engine = make_engine(tmp_path, [high, low, lower, higher])
    with writing(engine) as connection:
        set_key(connection, KEY)
        for founder, second in ((high, low), (lower, higher)):
            group = min(founder, second)
            both = samples.c.sample_id.in_([founder, second])
            journal.update(connection, samples, both, group_id=group)
    assert draw(engine) == 1
    assert rows(engine).keys() == {lower}


def test_gold_is_not_drawn(engine: Engine) -> None:
    known = min(below(0.2))
    with writing(engine) as connection:
        row = {"sample_id": known, "label": "cat", "source": "ann", "added_at": now()}
        journal.insert(connection, gold, [row])
    draw(engine)
    assert rows(engine).keys() == below(0.2) - {known}


def test_rows_from_before_join_by_their_number_and_never_report(engine: Engine) -> None:
    low, high = min(below(0.2)), min(set(NAMES) - below(0.2))
    with writing(engine) as connection:
        about = {"strategy": "random", "seed": 0, "config": {}, "why": "test", "chosen_at": now()}
        connection.execute(insert(rounds).values(round_id="round-0001", number=1, **about))
        for place, name in enumerate((low, high)):
            mine = {"round_id": "round-0001", "sample_id": name}
            connection.execute(insert(assignments).values(**mine, position=place, reason="audit"))
            drawn = {"inclusion_probability": 0.5, "drawn_at": now()}
            connection.execute(insert(audit).values(**mine, **drawn))
    draw(engine)
    after = rows(engine)
    assert after.keys() == below(0.2) | {high}
    assert (after[low].number, after[low].part) == (audit_number(KEY, low), Part.GATE)
    assert (after[low].round_id, after[low].inclusion_probability) == ("round-0001", 0.2)
    assert (after[high].number, after[high].inclusion_probability) == (None, 0.5)


def test_new_groups_are_drawn_when_they_come(engine: Engine) -> None:
    with writing(engine) as connection:
        drawn = draw_new_groups(connection, NAMES[:50], AuditPolicy())
    assert set(drawn) == below(0.2) & set(NAMES[:50]) == rows(engine).keys()


def test_the_key_is_made_once_and_another_is_refused(tmp_path: Path) -> None:
    engine = make_engine(tmp_path, [])
    with engine.connect() as connection:
        assert key_of(connection) is None
    with writing(engine) as connection:
        key = make_key(connection)
        assert make_key(connection) == key and len(key) == 32
        set_key(connection, key)
        with pytest.raises(ValueError, match="set one before images come"):
            set_key(connection, KEY)
