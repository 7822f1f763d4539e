"""The labelled table: who is trained on and who is measured on, in bytes that never differ.

Beside the labels it may hold soft rows: what the propagation says of samples that nobody labelled.
Their split is "soft", so whoever asks for another part never sees one. Without any the bytes are
those of a table that never heard of them.
"""

import hashlib
import io
import json
from collections.abc import Iterator
from typing import Any

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
from sqlalchemy import Connection, Engine, or_, select

from labeling.ledger.rounds import pool_ids
from labeling.ledger.tables import answers, audit, gold, label_answers, labels, samples
from labeling.snapshots.split import SnapshotConfig, split

SCHEMA = pa.schema(
    [
        ("sample_id", pa.string()),
        ("label", pa.string()),
        ("trust", pa.float64()),
        ("annotators", pa.list_(pa.string())),
        ("source", pa.string()),  # where the answers came from
        ("round_id", pa.string()),
        ("split", pa.string()),
        ("settled_at", pa.string()),
        ("group_id", pa.string()),
        ("inclusion_probability", pa.float64()),  # audit samples only
        ("origin", pa.string()),
        ("shard", pa.string()),
        ("offset", pa.int64()),
        ("length", pa.int64()),
        ("stored_sha256", pa.string()),
        ("width", pa.int64()),
        ("height", pa.int64()),
    ]
)
SOFT = "soft"  # the split of rows with a guess in place of a label
SOFT_SCHEMA = SCHEMA.append(pa.field("probs", pa.string()))  # JSON, class -> probability
SOFT_COLUMNS = ["sample_id", "label", "trust", "source", "probs"]
_CHUNK = 500  # names in one query


def build_table(
    engine: Engine, config: SnapshotConfig, soft: pd.DataFrame | None = None
) -> pa.Table:
    """The labels in force with all that training needs of them, in the order of sample_id.

    Audit samples that wait for their label hold their near-duplicates back already. Of `soft`
    (SOFT_COLUMNS) those rows come in whose sample is in the pool and resembles nothing that is
    measured on or held back; whatever else it names is left out.
    """
    with engine.connect() as connection:
        rows = _rows(connection)
        rows["audit"] = rows["inclusion_probability"].notna()
        rows["gold"] = rows["method"] == "gold"
        rows["split"] = split(rows, config)
        labelled = rows[rows["label"].notna()]
        if soft is None or not (labelled["split"] == "train").any():
            return to_arrow(labelled.sort_values("sample_id"))
        guessed = _guessed(connection, rows, _checked(soft))
    if guessed.empty:
        return to_arrow(labelled.sort_values("sample_id"))
    table = pd.concat([labelled.assign(probs=None).astype(object), guessed.astype(object)])
    return to_arrow(table.sort_values("sample_id"))


def count_moved(engine: Engine, old: SnapshotConfig, new: SnapshotConfig) -> int:
    """How many labelled samples are in another split under `new` than under `old`."""
    before, after = (
        build_table(engine, config).to_pandas()["split"].to_numpy() for config in (old, new)
    )
    return int((before != after).sum())


def _guessed(connection: Connection, rows: pd.DataFrame, soft: pd.DataFrame) -> pd.DataFrame:
    """The soft rows that may be trained on, with their places."""
    names = sorted(soft["sample_id"])
    free = select(
        *samples.c["sample_id", "group_id", "origin", "shard", "offset", "length"],
        *samples.c["stored_sha256", "width", "height"],
    ).where(
        samples.c.sample_id.in_(pool_ids()),
        samples.c.sample_id.not_in(select(gold.c.sample_id)),
    )
    found = pd.concat(
        pd.read_sql(free.where(samples.c.sample_id.in_(names[at : at + _CHUNK])), connection)
        for at in range(0, max(1, len(names)), _CHUNK)
    )
    apart = rows.loc[rows["split"] != "train", "group_id"]
    found = found[~found["group_id"].isin(apart)].merge(soft[SOFT_COLUMNS], on="sample_id")
    empty = dict.fromkeys(("round_id", "settled_at", "inclusion_probability"))
    nobody: list[Any] = [[] for _ in range(len(found))]
    return found.assign(**empty, split=SOFT, annotators=nobody)


def _checked(soft: pd.DataFrame) -> pd.DataFrame:
    missing = sorted(set(SOFT_COLUMNS) - set(soft.columns))
    if missing:
        raise ValueError(f"the soft rows have no column {missing[0]!r}; give {SOFT_COLUMNS}")
    strange = soft[~soft["trust"].between(0, 1)]
    if len(strange):
        row = strange.iloc[0]
        raise ValueError(f"the trust of soft row {row['sample_id']} is {row['trust']}, not 0 to 1")
    twice = soft.loc[soft["sample_id"].duplicated(), "sample_id"]
    if len(twice):
        raise ValueError(f"sample {twice.iloc[0]} is guessed twice; give one soft row for each")
    return soft


def _rows(connection: Connection) -> pd.DataFrame:
    in_force = (labels.c.sample_id == samples.c.sample_id) & labels.c.replaced_at.is_(None)
    query = (
        select(
            *samples.c["sample_id", "group_id", "origin", "shard", "offset", "length"],
            *samples.c["stored_sha256", "width", "height"],
            *labels.c["seq", "label", "trust", "annotators", "method", "round_id", "settled_at"],
            audit.c.inclusion_probability,
        )
        .join_from(samples, labels, in_force, isouter=True)
        .join(audit, audit.c.sample_id == samples.c.sample_id, isouter=True)
        .where(or_(labels.c.label.is_not(None), audit.c.sample_id.is_not(None)))
    )
    found = connection.execute(query)
    rows = pd.DataFrame(found.all(), columns=list(found.keys()), dtype=object)
    cited = (
        select(label_answers.c.label_seq, answers.c.source)
        .join(answers, answers.c.seq == label_answers.c.answer_seq)
        .distinct()
    )
    origins: dict[int, set[str]] = {}
    for label_seq, source in connection.execute(cited).tuples():
        origins.setdefault(label_seq, set()).add(source)
    rows["annotators"] = rows["annotators"].map(lambda names: names or [])
    rows["source"] = [
        ",".join(sorted(origins.get(seq, ()))) or method
        for seq, method in zip(rows["seq"], rows["method"], strict=True)
    ]
    return rows


def to_arrow(table: pd.DataFrame) -> pa.Table:
    """The table with exactly the columns and types of a snapshot."""
    schema = SOFT_SCHEMA if "probs" in table else SCHEMA
    arrow = pa.Table.from_pandas(table, schema=schema, preserve_index=False)
    return arrow.replace_schema_metadata(None)


def fingerprint(table: pa.Table) -> str:
    """SHA-256 of the content: the same for the same rows, whatever wrote or compressed them."""
    digest = hashlib.sha256()
    for line in _lines(table):
        digest.update(line)
    return digest.hexdigest()


def _lines(table: pa.Table) -> Iterator[bytes]:
    yield json.dumps(table.column_names).encode() + b"\n"
    for batch in table.to_batches(max_chunksize=10_000):
        for row in batch.to_pylist():
            yield json.dumps(list(row.values()), allow_nan=False).encode() + b"\n"


def to_parquet(table: pa.Table) -> bytes:
    """The table as a parquet file; the same table gives the same bytes."""
    sink = io.BytesIO()
    pq.write_table(table, sink, compression="zstd")
    return sink.getvalue()


def from_parquet(content: bytes) -> pd.DataFrame:
    """The rows of a parquet file that `to_parquet` made; annotators are lists."""
    table: Any = pq.read_table(io.BytesIO(content))
    frame: pd.DataFrame = table.to_pandas()
    frame["annotators"] = [list(names) for names in frame["annotators"]]
    return frame
