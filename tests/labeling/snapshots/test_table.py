"""Splits, the labelled table and its bytes."""

import json
import random
from collections.abc import Iterator, Mapping
from pathlib import Path
from types import MappingProxyType

import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sqlalchemy import Engine, insert, update

from core.database import connect, now, upgrade, writing
from labeling.kinds.classification import Classification
from labeling.ledger.tables import (
    answers,
    assignments,
    audit,
    gold,
    label_answers,
    labels,
    rounds,
    samples,
)
from labeling.snapshots.split import SnapshotConfig, split
from labeling.snapshots.table import (
    build_table,
    fingerprint,
    from_parquet,
    read_parquet,
    to_parquet,
)

ROWS = st.lists(
    st.tuples(
        st.integers(0, 40),  # group
        st.sampled_from("abcd"),
        st.integers(0, 9).map(lambda number: number == 0),  # audit
    ),
    max_size=120,
)


def rows_of(drawn: list[tuple[int, str, bool]]) -> pd.DataFrame:
    table = pd.DataFrame(drawn, columns=["group_id", "label", "audit"])
    table["group_id"] = "g" + table["group_id"].astype(str)
    table.insert(0, "sample_id", [f"s{place:04d}" for place in range(len(table))])
    return table.assign(gold=False).astype({"audit": bool, "label": object})


def singles(count: int, classes: str = "ab") -> pd.DataFrame:
    return rows_of([(place, classes[place % len(classes)], False) for place in range(count)])


@given(ROWS, st.floats(0, 0.9), st.integers(0, 5))
def test_audit_samples_are_tested_on_and_their_near_duplicates_are_held(drawn, share, seed):
    table = rows_of(drawn)
    parts = split(table, SnapshotConfig(val_share=share, seed=seed))
    audited = table["group_id"].isin(table.loc[table["audit"], "group_id"])
    assert (parts[table["audit"]] == "test").all()
    assert (parts[audited & ~table["audit"]] == "held").all()
    assert set(parts[~audited]) <= {"train", "val"}


@given(ROWS, st.floats(0, 0.9), st.integers(0, 5))
def test_near_duplicates_are_never_on_both_sides(drawn, share, seed):
    table = rows_of(drawn)
    table["split"] = split(table, SnapshotConfig(val_share=share, seed=seed))
    free = table[table["split"].isin(["train", "val"])]
    assert (free.groupby("group_id")["split"].nunique() <= 1).all()


@given(ROWS, st.floats(0, 0.9), st.integers(0, 5))
def test_every_class_keeps_a_row_to_train_on(drawn, share, seed):
    table = rows_of(drawn)
    table["split"] = split(table, SnapshotConfig(val_share=share, seed=seed))
    validated = set(table.loc[table["split"] == "val", "label"])
    assert validated <= set(table.loc[table["split"] == "train", "label"])


@given(ROWS, st.integers(0, 5), st.randoms(use_true_random=False))
def test_the_order_of_rows_does_not_matter(drawn, seed, order: random.Random):
    table = rows_of(drawn)
    shuffled = table.sample(frac=1, random_state=order.randint(0, 999)) if len(table) else table
    config = SnapshotConfig(seed=seed)
    pd.testing.assert_series_equal(
        split(table, config).sort_index(), split(shuffled, config).sort_index()
    )


@given(st.integers(1, 200), st.integers(0, 5))
def test_a_new_row_moves_few_of_the_old_ones(count, seed):
    config = SnapshotConfig(seed=seed)
    table = singles(count + 1, "abc")
    before, after = split(table[:-1], config), split(table, config)[:-1]
    assert (before != after).sum() <= 3  # at most one of each class


def test_the_validation_share_holds_in_each_class_and_over_all():
    table = rows_of([(place, "a" if place < 200 else "b", False) for place in range(300)])
    table["split"] = split(table, SnapshotConfig(val_share=0.15))
    assert table[table["split"] == "val"]["label"].value_counts().to_dict() == {"a": 30, "b": 15}


def test_a_few_rows_of_many_classes_still_give_some_to_validation():
    parts = split(singles(30, "abcdefghij"), SnapshotConfig(val_share=0.15))
    assert (parts == "val").sum() in (4, 5)


def test_another_seed_is_another_split():
    table = singles(100)
    assert not split(table, SnapshotConfig(seed=0)).equals(split(table, SnapshotConfig(seed=1)))


def test_an_impossible_share_is_refused_with_its_value():
    with pytest.raises(ValueError, match=r"val_share is 1\.0"):
        SnapshotConfig(val_share=1.0)


@pytest.fixture
def engine(tmp_path: Path) -> Iterator[Engine]:
    engine = connect(f"sqlite:///{tmp_path / 'ledger.sqlite'}")
    upgrade(engine)
    with writing(engine) as connection:
        connection.execute(
            insert(rounds).values(
                round_id="round-0001", number=1, strategy="margin", seed=0, config={}, why="",
                chosen_at=now(),
            )
        )  # fmt: skip
    yield engine
    engine.dispose()


def add_sample(engine: Engine, name: str, *, group: str | None = None) -> None:
    with writing(engine) as connection:
        connection.execute(
            insert(samples).values(
                sample_id=name, shard="x.tar", offset=512, length=9, stored_sha256="0" * 64,
                format="PNG", width=8, height=8, thumbnail=bytes(256), group_id=group or name,
                origin="ingest", added_at=now(),
            )
        )  # fmt: skip


def settle(engine: Engine, name: str, label: str, *, source: str = "oracle") -> None:
    with writing(engine) as connection:
        seq = connection.execute(
            insert(answers).values(
                source=source, external_id=name, sample_id=name, annotator="ann", kind="answer",
                value=label, updated_at=now(), digest=label, seen_at=now(),
            )
        ).lastrowid  # fmt: skip
        label_seq = connection.execute(
            insert(labels).values(
                sample_id=name, round_id="round-0001", label=label, trust=0.75,
                annotators=["ann", "bob"], method="majority",
                settled_at="2026-11-21T00:00:00+00:00",
            )
        ).lastrowid  # fmt: skip
        connection.execute(insert(label_answers).values(label_seq=label_seq, answer_seq=seq))


def audit_sample(engine: Engine, name: str) -> None:
    with writing(engine) as connection:
        connection.execute(
            insert(audit).values(
                sample_id=name, round_id="round-0001", inclusion_probability=0.1, drawn_at=now()
            )
        )


def read(engine: Engine) -> pd.DataFrame:
    return from_parquet(to_parquet(build_table(engine, SnapshotConfig(val_share=0)))).set_index(
        "sample_id"
    )


def test_a_row_says_all_that_training_and_tracing_need(engine):
    add_sample(engine, "s1")
    settle(engine, "s1", "cat", source="label-studio:3")
    audit_sample(engine, "s1")
    row = read(engine).loc["s1"]
    assert row[["label", "trust", "source", "round_id", "split"]].to_numpy().tolist() == [
        "cat", 0.75, "label-studio", "round-0001", "test",
    ]  # fmt: skip
    assert row["annotators"] == ["ann", "bob"]
    assert row["inclusion_probability"] == 0.1
    assert (row["shard"], row["offset"], row["length"]) == ("x.tar", 512, 9)


def test_only_labels_in_force_are_in_the_table_and_unlabelled_samples_are_not(engine):
    for name in ("s1", "s2"):
        add_sample(engine, name)
    settle(engine, "s1", "cat")
    with writing(engine) as connection:
        connection.execute(update(labels).values(replaced_at=now()))
        connection.execute(update(answers).values(replaced_at=now()))
    settle(engine, "s1", "dog")
    assert read(engine)["label"].to_dict() == {"s1": "dog"}


def test_an_audit_sample_that_waits_for_its_label_holds_its_near_duplicate_back(engine):
    add_sample(engine, "s1", group="g")
    add_sample(engine, "s2", group="g")
    settle(engine, "s1", "cat")
    assert read(engine)["split"].to_dict() == {"s1": "train"}
    audit_sample(engine, "s2")
    assert read(engine)["split"].to_dict() == {"s1": "held"}


def test_a_sample_in_training_whose_group_meets_an_audit_sample_is_held_from_then_on(engine):
    for name in ("s1", "s2"):
        add_sample(engine, name)
        settle(engine, name, "cat")
    audit_sample(engine, "s2")
    assert read(engine).loc["s1", "split"] == "train"
    with writing(engine) as connection:
        connection.execute(update(samples).values(group_id="both"))
    assert read(engine).loc["s1", "split"] == "held"


def test_rows_stand_in_the_order_of_sample_id_whatever_came_first(engine):
    for name in ("s2", "s3", "s1"):
        add_sample(engine, name)
        settle(engine, name, "cat")
    assert list(read(engine).index) == ["s1", "s2", "s3"]


def test_the_fingerprint_and_the_bytes_depend_on_content_alone(engine):
    add_sample(engine, "s1")
    settle(engine, "s1", "cat")
    first, again = (build_table(engine, SnapshotConfig()) for _ in range(2))
    assert fingerprint(first) == fingerprint(again)
    assert to_parquet(first) == to_parquet(again)
    assert fingerprint(read_parquet(to_parquet(first))) == fingerprint(first)
    add_sample(engine, "s2")
    settle(engine, "s2", "cat")
    assert fingerprint(build_table(engine, SnapshotConfig())) != fingerprint(first)


@pytest.mark.parametrize("settled_at", ["2001-01-01T00:00:00+00:00", "2077-07-07T00:00:00+00:00"])
@pytest.mark.parametrize("source", ["label-studio:3", "label-studio:44"])
def test_neither_a_time_nor_the_number_of_a_project_is_content(engine, settled_at, source):
    for name in ("s1", "s2"):
        add_sample(engine, name)
        settle(engine, name, "cat", source=source)
    with writing(engine) as connection:
        connection.execute(update(labels).values(settled_at=settled_at))
    table = build_table(engine, SnapshotConfig())
    assert set(table["source"].to_pylist()) == {"label-studio"}
    assert fingerprint(table)[:12] == "617f91100987"


def test_a_table_that_an_older_version_froze_is_read(engine):
    add_sample(engine, "s1")
    settle(engine, "s1", "cat")
    table = build_table(engine, SnapshotConfig())
    older = table.append_column("settled_at", [["2026-11-21T00:00:00+00:00"]])
    assert fingerprint(older) != fingerprint(table)
    pd.testing.assert_frame_equal(from_parquet(to_parquet(older)), from_parquet(to_parquet(table)))


def test_an_empty_ledger_is_an_empty_table(engine):
    assert build_table(engine, SnapshotConfig()).num_rows == 0


# Soft rows: guesses that are trained on.


def guesses(*names: str, trust: float = 0.9) -> pd.DataFrame:
    told = json.dumps({"cat": trust, "dog": round(1 - trust, 5)})
    row = {"label": "cat", "trust": trust, "source": "propagation-1, here", "probs": told}
    return pd.DataFrame([{"sample_id": name, **row} for name in names])


def soft_of(engine: Engine, soft: pd.DataFrame) -> pd.DataFrame:
    table = build_table(engine, SnapshotConfig(val_share=0), soft)
    return from_parquet(to_parquet(table)).set_index("sample_id")


def test_a_guess_stands_beside_the_labels_and_is_marked_as_one(engine):
    for name in ("s1", "s2"):
        add_sample(engine, name)
    settle(engine, "s1", "cat")
    table = soft_of(engine, guesses("s2"))
    assert table["split"].to_dict() == {"s1": "train", "s2": "soft"}
    row = table.loc["s2"]
    assert (row["label"], row["trust"], row["source"]) == ("cat", 0.9, "propagation-1, here")
    assert json.loads(table["probs"]["s2"]) == {"cat": 0.9, "dog": 0.1}
    assert row["annotators"] == [] and pd.isna(row["round_id"])
    assert (row["shard"], row["offset"], row["length"]) == ("x.tar", 512, 9)
    assert table["probs"].isna()["s1"]


def test_without_guesses_the_bytes_are_those_of_a_table_that_never_heard_of_them(engine):
    for name in ("s1", "s2"):
        add_sample(engine, name)
    settle(engine, "s1", "cat")
    plain = build_table(engine, SnapshotConfig())
    for soft in (guesses(), guesses("s1"), guesses("nobody")):
        table = build_table(engine, SnapshotConfig(), soft if len(soft) else None)
        assert to_parquet(table) == to_parquet(plain)
    assert "probs" not in plain.column_names


def test_the_fingerprint_covers_guesses_and_the_labels_stay_as_they_were(engine):
    for name in ("s1", "s2"):
        add_sample(engine, name)
    settle(engine, "s1", "cat")
    prints = {
        fingerprint(build_table(engine, SnapshotConfig(), soft))
        for soft in (None, guesses("s2"), guesses("s2", trust=0.95))
    }
    assert len(prints) == 3
    table = build_table(engine, SnapshotConfig(), guesses("s2"))
    assert fingerprint(read_parquet(to_parquet(table))) == fingerprint(table)
    pd.testing.assert_frame_equal(
        soft_of(engine, guesses("s2")).loc[["s1"]].drop(columns="probs"), read(engine)
    )


@pytest.mark.parametrize("group", ["own", "shared"])
@pytest.mark.parametrize("role", ["audit", "audit that waits", "gold", "val"])
def test_no_guess_is_trained_on_that_is_measured_on_or_resembles_what_is(engine, role, group):
    for name in ("s1", "s2", "s3"):
        add_sample(engine, name, group="g" if group == "shared" and name != "s1" else name)
    add_sample(engine, "s4")
    settle(engine, "s1", "cat")
    guessed = "s3" if group == "shared" else "s2"
    config = SnapshotConfig(val_share=0)
    if role == "audit that waits":
        audit_sample(engine, "s2")
    elif role == "audit":
        settle(engine, "s2", "cat")
        audit_sample(engine, "s2")
    elif role == "gold":
        with writing(engine) as connection:
            connection.execute(
                insert(gold).values(sample_id="s2", label="cat", source="x", added_at=now())
            )
            connection.execute(
                insert(labels).values(
                    sample_id="s2", label="cat", trust=1.0, annotators=[], 
                    method="gold", settled_at=now(),
                )
            )  # fmt: skip
    else:
        settle(engine, "s2", "cat")
        config = SnapshotConfig(val_share=0.5, seed=_seed_that_validates(engine, "s2"))
    found = from_parquet(to_parquet(build_table(engine, config, guesses(guessed, "s4"))))
    assert found.loc[found["split"] == "soft", "sample_id"].tolist() == ["s4"]


def _seed_that_validates(engine: Engine, name: str) -> int:
    for seed in range(50):
        table = build_table(engine, SnapshotConfig(val_share=0.5, seed=seed)).to_pandas()
        if table.set_index("sample_id").loc[name, "split"] == "val":
            return seed
    raise AssertionError


def test_who_is_asked_about_now_or_was_skipped_is_not_guessed(engine):
    for name in ("s1", "s2", "s3", "s4"):
        add_sample(engine, name)
    settle(engine, "s1", "cat")
    with writing(engine) as connection:
        for place, (name, end) in enumerate({"s2": {}, "s3": {"outcome": "skipped"}}.items()):
            closed = {"closed_at": now()} if end else {}
            connection.execute(
                insert(assignments).values(
                    round_id="round-0001", sample_id=name, position=place, reason="margin",
                    **closed, **end,
                )
            )  # fmt: skip
    table = soft_of(engine, guesses("s2", "s3", "s4"))
    assert table["split"].to_dict() == {"s1": "train", "s4": "soft"}


def test_without_a_label_to_train_on_no_guess_is(engine):
    add_sample(engine, "s1")
    assert build_table(engine, SnapshotConfig(), guesses("s1")).num_rows == 0


@pytest.mark.parametrize(
    ("soft", "words"),
    [
        (guesses("s1").drop(columns="probs"), "no column 'probs'"),
        (guesses("s1", trust=1.5), "trust of soft row s1 is 1.5"),
        (guesses("s1").assign(trust=float("nan")), "trust of soft row s1 is nan"),
        (guesses("s1", "s1"), "sample s1 is guessed twice"),
    ],
)
def test_guesses_that_make_no_sense_are_refused(engine, soft, words):
    add_sample(engine, "s0")
    settle(engine, "s0", "cat")
    with pytest.raises(ValueError, match=words):
        build_table(engine, SnapshotConfig(), soft)


class Boxes(Classification):
    """Labels of a class and a width."""

    snapshot_columns: Mapping[str, str] = MappingProxyType({"label": "string", "boxes": "int64"})

    def snapshot_values(self, value: str) -> dict[str, object]:
        return {"label": value.rstrip("0123456789"), "boxes": int(value[-1])}


def test_the_label_kind_decides_the_columns_of_the_label(engine: Engine) -> None:
    for name, value in (("s1", "cat2"), ("s2", "cat3"), ("s3", "dog2")):
        add_sample(engine, name)
        settle(engine, name, value)
    table = build_table(engine, SnapshotConfig(val_share=0), kind=Boxes())
    assert table.column_names[:4] == ["sample_id", "label", "boxes", "trust"]
    rows = from_parquet(to_parquet(table), Boxes())
    assert rows["label"].tolist() == ["cat", "cat", "dog"] and rows["boxes"].tolist() == [2, 3, 2]


def test_a_frozen_table_without_a_promised_column_is_refused_where_it_is_read(
    engine: Engine,
) -> None:
    add_sample(engine, "s1")
    settle(engine, "s1", "cat")
    table = build_table(engine, SnapshotConfig()).drop_columns("trust")
    with pytest.raises(ValueError, match="'labels of a snapshot' lacks trust"):
        from_parquet(to_parquet(table))
