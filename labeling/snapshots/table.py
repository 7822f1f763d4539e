"""The labelled table: what is trained on and what is measured on, in bytes that never differ.

No time and no number that another system gave is in it: who has the same answers has the same
table, whenever and on whichever server they were given. The ledger knows both.

Beside the labels it may hold soft rows: pseudo-labels of samples that nobody labelled. Their split
is "soft", so that a reader of another split never gets one. A table without soft rows has no column
for them.
"""

import hashlib
import io
import json
from collections.abc import Iterator
from typing import Any

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
from sqlalchemy import Connection, Engine, Select, Text, cast, func, or_, select

from core.rows import chunks
from core.table_schema import Schema, Type
from labeling.kinds import DEFAULT, KINDS, Kind
from labeling.ledger.reasons import PROJECT
from labeling.ledger.rounds import pool_ids
from labeling.ledger.tables import answers, audit, gold, label_answers, labels, samples
from labeling.snapshots.split import SnapshotConfig, split

_TYPES = {  # of the columns beside the label's, in arrow's words
    "sample_id": pa.string(),
    "trust": pa.float64(),
    "annotators": pa.list_(pa.string()),
    "source": pa.string(),  # where the answers came from
    "round_id": pa.string(),
    "split": pa.string(),
    "group_id": pa.string(),
    "inclusion_probability": pa.float64(),  # audit samples only
    "origin": pa.string(),
    "shard": pa.string(),
    "offset": pa.int64(),
    "length": pa.int64(),
    "stored_sha256": pa.string(),
    "width": pa.int64(),
    "height": pa.int64(),
}
_OPTIONAL = ("round_id", "inclusion_probability", "probs")
_FORMER = ("settled_at",)  # columns of tables that older versions froze; not read
SOFT = "soft"  # the split of rows with a pseudo-label in place of a label
SOFT_COLUMNS = ["sample_id", "label", "trust", "source", "probs"]


def build_table(
    engine: Engine,
    config: SnapshotConfig,
    soft: pd.DataFrame | None = None,
    kind: Kind = KINDS[DEFAULT],
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
            return to_arrow(labelled.sort_values("sample_id"), kind)
        pseudo = _pseudo_labelled(connection, rows, _checked(soft))
    if pseudo.empty:
        return to_arrow(labelled.sort_values("sample_id"), kind)
    table = pd.concat([labelled.assign(probs=None).astype(object), pseudo.astype(object)])
    return to_arrow(table.sort_values("sample_id"), kind)


def count_moved(engine: Engine, old: SnapshotConfig, new: SnapshotConfig) -> int:
    """How many labelled samples are in another split under `new` than under `old`."""
    before, after = (
        build_table(engine, config).to_pandas()["split"].to_numpy() for config in (old, new)
    )
    return int((before != after).sum())


def _pseudo_labelled(
    connection: Connection, rows: pd.DataFrame, soft: pd.DataFrame
) -> pd.DataFrame:
    """The soft rows that may be trained on, with their places."""
    names = sorted(soft["sample_id"])
    free = select(
        *samples.c["sample_id", "group_id", "origin", "shard", "offset", "length"],
        *samples.c["stored_sha256", "width", "height"],
    ).where(
        samples.c.sample_id.in_(pool_ids()),
        samples.c.sample_id.not_in(select(gold.c.sample_id)),
    )
    parts = [
        _fetch(connection, free.where(samples.c.sample_id.in_(part))) for part in chunks(names)
    ]
    rows_of_pool = pd.concat(parts) if parts else _fetch(connection, free.limit(0))
    apart = rows.loc[rows["split"] != "train", "group_id"]
    is_free = ~rows_of_pool["group_id"].isin(apart)
    pseudo = rows_of_pool[is_free].merge(soft[SOFT_COLUMNS], on="sample_id")
    empty = dict.fromkeys(("round_id", "inclusion_probability"))
    nobody: list[Any] = [[] for _ in range(len(pseudo))]
    return pseudo.assign(**empty, split=SOFT, annotators=nobody)


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
    """Every labelled sample and every one drawn for the audit, with what is known of it."""
    in_force = (labels.c.sample_id == samples.c.sample_id) & labels.c.replaced_at.is_(None)
    query = (
        select(
            *samples.c["sample_id", "group_id", "origin", "shard", "offset", "length"],
            *samples.c["stored_sha256", "width", "height"],
            *labels.c["seq", "label", "trust", "method", "round_id"],
            cast(labels.c.annotators, Text).label("annotators"),
            audit.c.inclusion_probability,
        )
        .join_from(samples, labels, in_force, isouter=True)
        .join(audit, audit.c.sample_id == samples.c.sample_id, isouter=True)
        .where(or_(labels.c.label.is_not(None), audit.c.sample_id.is_not(None)))
    )
    rows = _fetch(connection, query)
    sources = _sources(connection)
    rows["source"] = rows["seq"].map(sources).fillna(rows["method"])
    names = {text: json.loads(text) if text else [] for text in rows["annotators"].unique()}
    annotators = [names[text] for text in rows["annotators"]]
    return rows.assign(annotators=pd.Series(annotators, index=rows.index, dtype=object))


def _fetch(connection: Connection, query: Select[Any]) -> pd.DataFrame:
    """The rows of a query as objects, column by column: pandas is slow on SQLAlchemy's rows."""
    result = connection.execute(query)
    names = list(result.keys())
    columns = list(zip(*result.tuples(), strict=True)) or [()] * len(names)
    return pd.DataFrame(dict(zip(names, columns, strict=True)), dtype=object)


def _sources(connection: Connection) -> dict[int, str]:
    """Where the answers that each label rests on came from, by label.

    Of a project in Label Studio without its number, which is the server's to give.
    """
    cited = label_answers.join(answers, answers.c.seq == label_answers.c.answer_seq)
    number, source = label_answers.c.label_seq, answers.c.source
    query = select(number, func.min(source), func.max(source)).select_from(cited).group_by(number)
    first, several = {}, []
    for seq, low, high in connection.execute(query).tuples():
        first[seq] = _without_project(low)
        if low != high:
            several.append(seq)
    for part in chunks(several):
        each: dict[int, set[str]] = {}
        query = select(number, source).select_from(cited).where(number.in_(part))
        for seq, name in connection.execute(query).tuples():
            each.setdefault(seq, set()).add(_without_project(name))
        first |= {seq: ",".join(sorted(names)) for seq, names in each.items()}
    return first


def _without_project(source: str) -> str:
    return PROJECT.rstrip(":") if source.startswith(PROJECT) else source


def snapshot_schema(kind: Kind, *, soft: bool = False) -> pa.Schema:
    """The columns of a snapshot: those of the kind's label follow the sample's id."""
    of_label = {name: pa.type_for_alias(alias) for name, alias in kind.snapshot_columns.items()}
    columns = {"sample_id": _TYPES["sample_id"], **of_label, **_TYPES}
    if soft:
        columns["probs"] = pa.string()  # JSON, class -> probability
    return pa.schema(list(columns.items()))


def label_table(kind: Kind, *, soft: bool = False) -> Schema:
    """What a snapshot promises to those who read it."""
    columns = {
        field.name: _declared(field.type, optional=field.name in _OPTIONAL)
        for field in snapshot_schema(kind, soft=soft)
    }
    return Schema("labels of a snapshot", columns, key=("sample_id",))


def _declared(type_: pa.DataType, *, optional: bool) -> Type:
    if pa.types.is_string(type_):
        return Type.OPTIONAL_TEXT if optional else Type.TEXT
    if pa.types.is_floating(type_):
        return Type.OPTIONAL_NUMBER if optional else Type.NUMBER
    return Type.INTEGER if pa.types.is_integer(type_) else Type.OBJECT


def to_arrow(table: pd.DataFrame, kind: Kind = KINDS[DEFAULT]) -> pa.Table:
    """The table with exactly the columns and types of a snapshot."""
    values = table["label"]
    rows = {value: kind.snapshot_values(value) for value in values.unique()}
    columns = {
        name: values.map({value: row[name] for value, row in rows.items()})
        for name in kind.snapshot_columns
    }
    table = table.drop(columns="label").assign(**columns)
    schema = snapshot_schema(kind, soft="probs" in table)
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


def read_parquet(content: bytes) -> pa.Table:
    """The table in a parquet file that `to_parquet` made."""
    return pq.read_table(io.BytesIO(content))


def from_parquet(content: bytes, kind: Kind = KINDS[DEFAULT]) -> pd.DataFrame:
    """The rows of a parquet file that `to_parquet` made (`label_table`); annotators are lists."""
    table = read_parquet(content)
    unread = ["annotators", *(name for name in _FORMER if name in table.column_names)]
    frame: pd.DataFrame = table.drop_columns(unread).to_pandas()
    frame["annotators"] = pd.Series(table["annotators"].to_pylist(), dtype=object)
    return label_table(kind, soft="probs" in frame).check(frame)
