from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from sqlalchemy import Engine, select, update
from sqlalchemy.exc import IntegrityError

from core import journal
from core.database import writing
from core.locks import only_writer
from labeling.audit.asking import audit_batch, load_unasked
from labeling.batches.batch import Batch
from labeling.batches.candidates import candidates_of
from labeling.batches.select import SelectionConfig, select_batch, share_of
from labeling.consensus.settle import SettlePolicy
from labeling.consensus.settle_labels import settle_labels
from labeling.ledger import overview, rounds
from labeling.ledger.answers import record_answers
from labeling.ledger.gold import add_gold
from labeling.ledger.tables import assignments, audit
from labeling.strategies.pool import Pool
from tests.labeling.databases import make_engine, put_in_audit
from tests.labeling.ledger.test_answers import said

IDS = [f"sample-{number:02d}" for number in range(20)]


@pytest.fixture
def engine(tmp_path: Path) -> Engine:
    twins = {"sample-01": "sample-00"}
    return make_engine(tmp_path, IDS, twins)


def choose(engine: Engine, size: int = 6, audit_share: float = 0.5, seed: int = 0) -> pd.DataFrame:
    """A random batch; its audit samples are the first of the pool."""
    config = SelectionConfig(strategy="random", size=size, audit_share=audit_share)
    with only_writer(engine, "rounds") as token:
        with engine.connect() as connection:
            first = rounds.load_pool(connection).drop_duplicates("group_id")
        put_in_audit(engine, first["sample_id"].tolist()[: share_of(size, audit_share)])
        with engine.connect() as connection:
            round_id, pool = rounds.new_round(connection), rounds.load_pool(connection)
            audited = audit_batch(load_unasked(connection))
        rng = np.random.default_rng(seed)
        batch = select_batch(candidates_of(pool), Pool(), config, rng, audit=audited)[0]
        with writing(engine) as connection:
            rounds.open_round(
                connection,
                token,
                round_id,
                batch,
                strategy="random",
                config=asdict(config),
                model=None,
                seed=seed,
                why="test",
            )
    return batch.rows


def send(engine: Engine, round_id: str, batch: pd.DataFrame) -> None:
    with only_writer(engine, "rounds") as token:
        rounds.record_sent(
            engine, token, round_id, {key: f"task {key}" for key in batch["sample_id"]}
        )


def answer(engine: Engine, sample_id: str) -> None:
    """Ann says cat, and is believed."""
    given = pd.DataFrame([said(sample_id, "ann", "cat")])
    with only_writer(engine, "answers") as token:
        record_answers(
            engine, token, given, source="here", classes=["cat", "dog"], read={sample_id}
        )
        settle_labels(engine, token, SettlePolicy(), ["cat", "dog"])


def test_a_command_that_is_given_again_finishes_the_round_that_was_not_sent(engine: Engine) -> None:
    batch = choose(engine)
    with engine.connect() as connection:
        assert rounds.begun_round(connection, None) == "round-0001"
        assert rounds.unsent_rounds(connection) == ["round-0001"]
    send(engine, "round-0001", batch)
    with engine.connect() as connection:
        assert rounds.begun_round(connection, None) is None
        assert rounds.unsent_rounds(connection) == []
        assert rounds.new_round(connection) == "round-0002"


def test_of_two_rounds_that_were_not_sent_the_older_is_finished_first(engine: Engine) -> None:
    for number in (2, 1):
        open_round_of(engine, number, run=None)
    with engine.connect() as connection:
        assert rounds.begun_round(connection, None) == "round-0001"


def test_a_run_comes_back_to_its_own_round_sent_or_not(engine: Engine) -> None:
    open_round_of(engine, 1, run="run-a")
    open_round_of(engine, 2, run="run-b")
    send(engine, "round-0002", pd.DataFrame({"sample_id": [IDS[2]]}))
    with engine.connect() as connection:
        begun = [rounds.begun_round(connection, run) for run in ("run-a", "run-b", "run-c", None)]
        assert rounds.unsent_rounds(connection) == ["round-0001"]
    assert begun == ["round-0001", "round-0002", None, None]


def open_round_of(engine: Engine, number: int, *, run: str | None) -> None:
    """A round of one sample that this run of a deployment, or a command, chose."""
    with only_writer(engine, "rounds") as token, writing(engine) as connection:
        rounds.open_round(
            connection, token, rounds.round_name(number), Batch.of([IDS[number]], reason="random"),
            strategy="random", config={}, model=None, seed=0, why="test", run=run,
        )  # fmt: skip


def test_sending_a_round_again_keeps_the_time_at_which_it_was_first_sent(engine: Engine) -> None:
    batch = choose(engine, size=2)
    first, second = batch["sample_id"]
    columns = assignments.c["sample_id", "external_id", "sent_at"]
    times: list[tuple[str | None, dict[str, tuple[str, str | None]]]] = []
    for numbers in ({first: "1"}, {first: "3", second: "2"}):
        with only_writer(engine, "rounds") as token:
            rounds.record_sent(engine, token, "round-0001", numbers)
        with engine.connect() as connection:
            rows = connection.execute(select(*columns)).all()
            sent = {row.sample_id: (row.external_id, row.sent_at) for row in rows}
            times.append((connection.scalar(select(rounds.rounds.c.sent_at)), sent))
    (round_sent, before), (round_sent_again, after) = times
    assert round_sent is not None and round_sent_again == round_sent
    assert after[first] == ("3", before[first][1])
    assert before[second] == (None, None) and after[second][1] is not None


def test_gold_and_audit_samples_are_not_among_what_is_trained_on(engine: Engine) -> None:
    batch = choose(engine, size=3, audit_share=0.3)
    (audited,) = batch.loc[batch["reason"] == "audit", "sample_id"]
    labelled, pending = batch.loc[batch["reason"] != "audit", "sample_id"]
    send(engine, "round-0001", batch)
    answer(engine, labelled)
    answer(engine, audited)
    known = next(key for key in IDS if key not in set(batch["sample_id"]))
    with only_writer(engine, "answers") as token:
        add_gold(engine, token, pd.Series({known: "dog"}), source="truths.csv")
    with engine.connect() as connection:
        covered = rounds.load_labelled_or_pending(connection)
        assert set(covered["sample_id"]) == {labelled, pending}
        assert covered.set_index("sample_id")["label"].dropna().to_dict() == {labelled: "cat"}


def test_who_is_asked_is_not_in_the_pool(engine: Engine) -> None:
    batch = choose(engine)
    with engine.connect() as connection:
        pool = set(rounds.load_pool(connection)["sample_id"])
    assert not pool & set(batch["sample_id"])
    assert overview.count_open(engine.connect()) == len(batch)


def test_a_batch_comes_back_as_it_was_chosen(engine: Engine) -> None:
    batch = Batch.of(
        [IDS[3], IDS[2]],
        reason=["margin", "audit"],
        score=[0.5, None],
        inclusion_probability=[None, 0.1],
        pre_annotation=["cat", None],
        confidence=[0.9, None],
        pre_annotation_model=["m1", None],
        probs=[{"cat": 0.9, "dog": 0.1}, None],
        most_similar=[None, IDS[5]],
        blind=[True, False],
        required_annotators=[2, 1],
    )
    put_in_audit(engine, [IDS[2]])
    with only_writer(engine, "rounds") as token, writing(engine) as connection:
        rounds.open_round(
            connection, token, "round-0001", batch,
            strategy="margin", config={}, model="m1", seed=0, why="test",
        )  # fmt: skip
    with engine.connect() as connection:
        again = rounds.load_batch(connection, "round-0001")
        waiting = rounds.open_assignments(connection)
        assert list(rounds.load_asked(connection)) == list(rounds.ASKED.columns)
        assert not len(rounds.load_batch(connection, "round-0002"))
    pd.testing.assert_frame_equal(again.rows, batch.rows, check_dtype=False)
    assert waiting["sample_id"].tolist() == batch.sample_ids
    assert list(waiting) == list(rounds.OPEN_ASSIGNMENTS.columns)


def test_audit_samples_know_the_round_that_asked(engine: Engine) -> None:
    batch = choose(engine)
    with engine.connect() as connection:
        drawn = connection.execute(select(audit)).all()
    is_audit = batch["reason"] == "audit"
    assert {row.sample_id for row in drawn} == set(batch.loc[is_audit, "sample_id"])
    assert {row.round_id for row in drawn} == {"round-0001"}
    assert set(batch.loc[is_audit, "inclusion_probability"]) == {0.2}


def test_a_round_that_asks_for_the_audit_who_is_not_in_it_is_refused(engine: Engine) -> None:
    batch = Batch.of(IDS[:1], reason="audit")
    about: dict[str, Any] = {"strategy": "random", "config": {}, "model": None}
    with (
        only_writer(engine, "rounds") as token,
        pytest.raises(LookupError, match="1 rows of audit were to be changed, 0 are there"),
        writing(engine) as connection,
    ):
        rounds.open_round(connection, token, "round-0001", batch, **about, seed=0, why="test")


def test_near_duplicates_of_audit_samples_leave_the_pool(engine: Engine) -> None:
    choose(engine, size=2, audit_share=0.5)
    with engine.connect() as connection:
        left = set(rounds.load_pool(connection)["sample_id"])
    assert not {"sample-00", "sample-01"} & left


def test_a_sample_cannot_be_asked_in_two_rounds_at_once(engine: Engine) -> None:
    batch = choose(engine)
    with (
        only_writer(engine, "rounds") as token,
        pytest.raises(IntegrityError),
        writing(engine) as connection,
    ):
        rounds.open_round(
            connection,
            token,
            "round-0002",
            Batch(batch),
            strategy="random",
            config={},
            model=None,
            seed=0,
            why="twice",
        )
    with engine.connect() as connection:
        assert rounds.round_size(connection, "round-0002") is None, "all of a round or nothing"


def test_a_label_ends_the_assignment_and_the_last_one_ends_the_round(engine: Engine) -> None:
    batch = choose(engine, size=2)
    send(engine, "round-0001", batch)
    rows = [
        said(batch["sample_id"][0], "ann", "cat"),
        said(batch["sample_id"][1], "ann", None, kind="skip"),
    ]
    with only_writer(engine, "answers") as token:
        record_answers(
            engine,
            token,
            pd.DataFrame(rows),
            source="here",
            classes=["cat", "dog"],
            read=set(batch["sample_id"]),
        )
        counts = settle_labels(engine, token, SettlePolicy(), ["cat"])
    assert (counts["settled"], counts["skipped"]) == (1, 1)
    with engine.connect() as connection:
        ended = connection.execute(select(assignments.c.outcome)).scalars().all()
        assert sorted(ended) == ["labelled", "skipped"]
        assert overview.count_open(connection) == 0
        closed = connection.scalar(select(rounds.rounds.c.closed_at))
        assert closed is not None
        pool = set(rounds.load_pool(connection)["sample_id"])
    assert not pool & set(batch["sample_id"]), "a skipped sample is not asked again by itself"


@pytest.mark.parametrize("former", [False, True])
def test_an_audit_sample_whose_task_was_deleted_is_asked_again_some_day(
    engine: Engine, former: bool
) -> None:
    batch = choose(engine, size=4, audit_share=1.0)
    send(engine, "round-0001", batch)
    deleted, labelled, kept, other = batch["sample_id"]
    answer(engine, labelled)
    if former:
        with writing(engine) as connection:
            journal.update(connection, audit, number=None)
    gone = {(key, "round-0001") for key in (deleted, labelled)}
    with only_writer(engine, "answers") as token:
        rounds.record_deleted(engine, token, gone)
    with engine.connect() as connection:
        in_audit = set(connection.scalars(select(audit.c.sample_id)))
        assert in_audit == {labelled, kept, other} | (set() if former else {deleted})
        assert (deleted in set(rounds.load_pool(connection)["sample_id"])) == former
        unasked = load_unasked(connection)["sample_id"].tolist()
        assert unasked == ([] if former else [deleted])


@pytest.mark.parametrize("name", ["3", "round-3", "round-000x", "round-00003", ""])
def test_a_round_has_one_name(name: str) -> None:
    with pytest.raises(ValueError, match="round-0001"):
        rounds.round_number(name)
    assert rounds.round_number(rounds.round_name(12345)) == 12345


def test_a_pool_may_be_empty(engine: Engine) -> None:
    send(engine, "round-0001", choose(engine, size=len(IDS), audit_share=0.05))
    with engine.connect() as connection:
        pool = rounds.load_pool(connection)
    assert pool.empty and "source" in pool


def test_asked_again_are_open_ones_for_several_and_whatever_was_disputed(engine: Engine) -> None:
    batch = choose(engine, size=6, audit_share=0.0)
    send(engine, "round-0001", batch)
    several, disputed, decided, closed, usual, unsent = batch["sample_id"]
    changes: dict[str, dict[str, object]] = {
        several: {"required_annotators": 2},
        disputed: {"required_annotators": 3, "disputed_at": "1"},
        decided: {"required_annotators": 3, "disputed_at": "1", "closed_at": "2"},
        closed: {"required_annotators": 2, "closed_at": "2"},
        usual: {"required_annotators": 1},
        unsent: {"required_annotators": 2, "sent_at": None},
    }
    with writing(engine) as connection:
        for sample_id, values in changes.items():
            mine = update(assignments).where(assignments.c.sample_id == sample_id)
            connection.execute(mine.values(**values))
        asked = rounds.load_asked(connection).set_index("sample_id")
    assert asked[["disputed", "is_open"]].T.to_dict() == {
        several: {"disputed": False, "is_open": True},
        disputed: {"disputed": True, "is_open": True},
        decided: {"disputed": False, "is_open": False},
    }
