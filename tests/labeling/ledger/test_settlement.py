"""Incremental settling gives what settling everything would, and looks at no more than it must."""

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from sqlalchemy import Engine, event, select

from core.database import now, writing
from core.locks import only_writer
from labeling.consensus import settle_labels as module
from labeling.consensus.settle import SettlePolicy
from labeling.consensus.settle_labels import settle_labels
from labeling.ledger.answers import record_answers
from labeling.ledger.gold import add_gold
from labeling.ledger.pending import forget_full_pass, pending_samples
from labeling.ledger.settlement import LedgerState, last_full_pass
from labeling.ledger.tables import labels, samples
from tests.labeling.databases import make_engine

CLASSES = ["cat", "dog"]
NAMES = [f"s{number:04d}" for number in range(300)]


@pytest.fixture
def engine(tmp_path: Path) -> Engine:
    return make_engine(tmp_path, NAMES)


def give(engine: Engine, names: list[str], annotator: str, values: list[str]) -> None:
    rows = [
        {"source": "test", "external_id": f"{name}:{annotator}", "sample_id": name,
         "annotator": annotator, "kind": "answer", "value": value, "lead_time": None,
         "updated_at": now(), "round_id": None}
        for name, value in zip(names, values, strict=True)
    ]  # fmt: skip
    with only_writer(engine, "answers") as token:
        record_answers(engine, token, pd.DataFrame(rows), source="test", read=(), classes=CLASSES)


def settle(engine: Engine, policy: SettlePolicy = SettlePolicy()) -> dict[str, int]:  # noqa: B008
    with only_writer(engine, "answers") as token:
        return settle_labels(engine, token, policy, CLASSES)


def in_force(engine: Engine) -> dict[str, str]:
    query = select(labels.c.sample_id, labels.c.label).where(labels.c.replaced_at.is_(None))
    with engine.connect() as connection:
        return dict(connection.execute(query).tuples().all())


def statements(engine: Engine) -> list[str]:
    seen: list[str] = []
    event.listen(engine, "before_cursor_execute", lambda *given: seen.append(given[2]))
    return seen


def test_with_nothing_new_no_answer_is_read(engine: Engine) -> None:
    give(engine, NAMES, "ann", ["cat"] * len(NAMES))
    assert settle(engine)["settled"] == len(NAMES)
    asked = statements(engine)
    assert set(settle(engine).values()) == {0}
    assert not [text for text in asked if "answers.seq, answers.sample_id" in text]


def test_new_answers_are_settled_without_the_old_ones(
    engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "NEWEST", 20)
    give(engine, NAMES[:290], "ann", ["cat"] * 290)
    settle(engine)
    looked_at: list[LedgerState] = []
    resolve = module.resolve

    def observed(state: LedgerState, *given: Any, **options: Any) -> pd.DataFrame:
        looked_at.append(state)
        return resolve(state, *given, **options)

    monkeypatch.setattr(module, "resolve", observed)
    give(engine, NAMES[290:], "ann", ["dog"] * 10)
    assert settle(engine)["settled"] == 10
    assert len(looked_at[0].answers) == 20
    assert in_force(engine) == {name: "cat" if name < "s0290" else "dog" for name in NAMES}
    with engine.connect() as connection:
        assert pending_samples(connection) == set()


def test_step_by_step_gives_the_labels_of_one_full_pass(
    tmp_path: Path, engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    rng = np.random.default_rng(0)
    monkeypatch.setattr(module, "NEWEST", 60)
    for start in range(0, 300, 30):
        part = NAMES[start : start + 30]
        for annotator in ("ann", "ben", "cleo"):
            wrong = rng.random(30) < 0.1
            give(engine, part, annotator, np.where(wrong, "dog", "cat").tolist())
        settle(engine)
    stepwise = in_force(engine)
    with writing(engine) as connection:
        forget_full_pass(connection)
    settle(engine)
    full = in_force(engine)
    assert np.mean([stepwise.get(name) == full.get(name) for name in NAMES]) > 0.99


@pytest.mark.parametrize("what", ["policy", "gold", "growth"])
def test_what_changes_old_labels_looks_at_all_of_them(
    engine: Engine, monkeypatch: pytest.MonkeyPatch, what: str
) -> None:
    monkeypatch.setattr(module, "NEWEST", 10)
    give(engine, NAMES[:200], "ann", ["cat"] * 200)
    settle(engine)
    with engine.connect() as connection:
        before = last_full_pass(connection)
    policy = SettlePolicy(threshold=0.5) if what == "policy" else SettlePolicy()
    if what == "gold":
        with only_writer(engine, "answers") as token:
            truth = pd.Series({NAMES[250]: "cat"})
            add_gold(engine, token, truth, source="exam.csv")
    if what == "growth":
        give(engine, NAMES[200:230], "ann", ["cat"] * 30)
    settle(engine, policy)
    with engine.connect() as connection:
        assert last_full_pass(connection) != before or what == "gold"
        assert last_full_pass(connection) is not None


def test_a_deleted_answer_takes_its_label_with_it(
    engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "NEWEST", 5)
    give(engine, NAMES, "ann", ["cat"] * len(NAMES))
    settle(engine)
    empty = pd.DataFrame(columns=["source", "external_id", "sample_id", "annotator", "kind",
                                  "value", "lead_time", "updated_at", "round_id"])  # fmt: skip
    with only_writer(engine, "answers") as token:
        record_answers(engine, token, empty, source="test", read={NAMES[3]}, classes=CLASSES)
    assert settle(engine)["withdrawn"] == 1
    assert NAMES[3] not in in_force(engine)
    with engine.connect() as connection:
        assert connection.scalar(select(samples.c.sample_id).where(samples.c.sample_id == NAMES[3]))
