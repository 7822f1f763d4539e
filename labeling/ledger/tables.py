"""Samples, rounds, assignments, answers, labels, snapshots: the tables and what they promise.

Every promise that a database can keep is a key or an index here: the same bytes are one sample,
a sample is before the annotators at most once, a version of an answer is recorded once, a sample
has at most one label in force. History is kept by closing rows, never by changing them.
"""

from typing import Any

from sqlalchemy import (
    BigInteger,
    Boolean,
    Column,
    Float,
    ForeignKey,
    Index,
    Integer,
    LargeBinary,
    Table,
    Text,
    false,
    text,
)

from core.database import Json, metadata
from core.journal import COVERED
from core.shards import ShardLocation

samples = Table(
    "samples",
    metadata,
    Column("sample_id", Text, primary_key=True),  # SHA-256 of the bytes received
    Column("shard", Text, nullable=False),  # name of the tar file in data/shards
    Column("offset", BigInteger, nullable=False),
    Column("length", BigInteger, nullable=False),
    Column("stored_sha256", Text, nullable=False),  # of the cleaned bytes in the shard
    Column("format", Text, nullable=False),  # of the bytes in the shard: JPEG or PNG
    Column("width", Integer, nullable=False),
    Column("height", Integer, nullable=False),
    Column("thumbnail", LargeBinary, nullable=False),  # 16x16 grey: tells near-duplicates
    Column("group_id", Text, nullable=False, index=True),  # near-duplicates share it
    Column("origin", Text, nullable=False),  # "ingest" or "served"
    Column("added_at", Text, nullable=False),
    Column("masked", Json),  # by which masker, and the regions; null: it was not masked
    info=COVERED,
)
Index("ix_samples_added_at", samples.c.added_at)

sources = Table(
    "sources",
    metadata,
    Column("path", Text, primary_key=True),
    Column("sample_id", Text, ForeignKey("samples.sample_id"), nullable=False, index=True),
    Column("size", BigInteger, nullable=False),
    Column("mtime_ns", BigInteger, nullable=False),
    Column("seen_at", Text, nullable=False),
)

# What was given about images beside their labels: each column's values are slices of a verdict.
sample_metadata = Table(
    "sample_metadata",
    metadata,
    Column("sample_id", Text, ForeignKey("samples.sample_id"), primary_key=True),
    Column("name", Text, primary_key=True, index=True),  # of the column
    Column("value", Text, nullable=False),
    Column("given_at", Text, nullable=False),
    info=COVERED,
)

refusals = Table(
    "refusals",
    metadata,
    Column("path", Text, primary_key=True),
    Column("size", BigInteger, nullable=False),
    Column("mtime_ns", BigInteger, nullable=False),
    Column("reason", Text, nullable=False),  # a core.images.Reason
    Column("detail", Text, nullable=False),
    Column("refused_at", Text, nullable=False),
)

rounds = Table(
    "rounds",
    metadata,
    Column("round_id", Text, primary_key=True),  # round-0001, round-0002, ...
    Column("number", Integer, nullable=False, unique=True),
    Column("strategy", Text, nullable=False),
    Column("rule", Text),  # what the strategy came down to, in words
    Column("model", Text),  # version whose predictions chose; null = cold start
    Column("seed", BigInteger, nullable=False),
    Column("config", Json, nullable=False),  # SelectionConfig and QualityControlConfig
    Column("why", Text, nullable=False),
    Column("chosen_at", Text, nullable=False),
    Column("sent_at", Text),
    Column("closed_at", Text),
    info=COVERED,
)

assignments = Table(
    "assignments",
    metadata,
    Column("round_id", Text, ForeignKey("rounds.round_id"), primary_key=True),
    Column("sample_id", Text, primary_key=True),  # of samples, or erased_samples
    Column("position", Integer, nullable=False),
    Column("reason", Text, nullable=False),  # "margin", "random", "audit", "gold", "review", ...
    Column("score", Float),
    Column("inclusion_probability", Float),  # audit samples only
    Column("draw_probability", Float),  # at its draw, where chance had a part in the batch
    Column("draws_from", Integer),  # how many were left at its draw
    Column("pre_annotation", Text),
    Column("confidence", Float),
    Column("pre_annotation_model", Text),
    Column("probs", Json),  # class -> probability, predicted before the label was known
    Column(
        "blind", Boolean, nullable=False, server_default=false()
    ),  # shown without the pre-annotation
    Column("most_similar", Text),  # the sample it resembles most among those chosen or labelled
    Column(
        "required_annotators", Integer, nullable=False, server_default=text("1")
    ),  # different ones
    Column("asked_again", Integer, nullable=False, server_default=text("0")),
    Column("disputed_at", Text),  # since when it waits for somebody's final word
    Column("external_id", Text),  # what Label Studio calls it
    Column("sent_at", Text),
    Column("closed_at", Text),
    Column("outcome", Text),  # "labelled", "skipped", "deleted"
    info=COVERED,
)
Index("ix_assignments_sample_id", assignments.c.sample_id)
Index(
    "uq_assignments_open",
    assignments.c.sample_id,
    unique=True,
    sqlite_where=text("closed_at IS NULL"),
    postgresql_where=text("closed_at IS NULL"),
)
Index(
    "ix_assignments_disputed",
    assignments.c.sample_id,
    sqlite_where=text("disputed_at IS NOT NULL"),
    postgresql_where=text("disputed_at IS NOT NULL"),
)
Index(
    "ix_assignments_skipped",
    assignments.c.sample_id,
    sqlite_where=text("outcome = 'skipped'"),
    postgresql_where=text("outcome = 'skipped'"),
)

# Samples that metrics are computed on, from the moment they are drawn: these are never trained on.
audit = Table(
    "audit",
    metadata,
    Column("sample_id", Text, ForeignKey("samples.sample_id"), primary_key=True),
    Column("round_id", Text, ForeignKey("rounds.round_id")),  # that asked last; null = none did
    Column("inclusion_probability", Float, nullable=False),  # the share it was drawn with
    Column("drawn_at", Text, nullable=False),
    Column("number", Float),  # the group's, below the share; null = drawn before there were numbers
    Column("part", Text),  # a labeling.audit.numbers.Part
    Column("report_share", Float),  # that the part was drawn with
    info=COVERED,
)

# The key of the groups' numbers: one row, made when the first samples come.
audit_key = Table(
    "audit_key",
    metadata,
    Column("number", Integer, primary_key=True, autoincrement=False),  # always 1
    Column("key", Text, nullable=False),  # in hexadecimal
    Column("made_at", Text, nullable=False),
    info=COVERED,
)

# Samples whose label is known, mixed into the rounds to check annotators; never trained on.
gold = Table(
    "gold",
    metadata,
    Column("sample_id", Text, ForeignKey("samples.sample_id"), primary_key=True),
    Column("label", Text, nullable=False),
    Column("source", Text, nullable=False),
    Column("added_at", Text, nullable=False),
    info=COVERED,
)

answers = Table(
    "answers",
    metadata,
    Column("seq", Integer, primary_key=True, autoincrement=True),
    Column("source", Text, nullable=False),  # "label-studio:<project>", "simulated"
    Column("external_id", Text, nullable=False),  # unique key of the answer at its source
    Column("sample_id", Text, ForeignKey("samples.sample_id"), nullable=False, index=True),
    Column("annotator", Text, nullable=False),
    Column("round_id", Text),  # in which it was given, where the source knows
    Column("kind", Text, nullable=False),  # "answer", "skip", or "verdict": a final word
    Column("value", Text),  # class name; null for a skip
    Column("lead_time", Float),
    Column("updated_at", Text, nullable=False),  # the source's clock
    Column("digest", Text, nullable=False),  # of kind, value and annotator
    Column("seen_at", Text, nullable=False),
    Column("replaced_at", Text),  # null = in force; edits and deletions close the row
    info=COVERED,
)
Index(
    "uq_answers_version",
    answers.c.source,
    answers.c.external_id,
    answers.c.updated_at,
    answers.c.digest,
    unique=True,
)
Index(
    "ix_answers_replaced",
    answers.c.replaced_at,
    sqlite_where=text("replaced_at IS NOT NULL"),
    postgresql_where=text("replaced_at IS NOT NULL"),
)
Index(
    "uq_answers_in_force",
    answers.c.source,
    answers.c.external_id,
    unique=True,
    sqlite_where=text("replaced_at IS NULL"),
    postgresql_where=text("replaced_at IS NULL"),
)

refused_answers = Table(
    "refused_answers",
    metadata,
    Column("source", Text, primary_key=True),
    Column("external_id", Text, primary_key=True),
    Column("digest", Text, primary_key=True),
    Column("sample_id", Text),
    Column("annotator", Text),
    Column("reason", Text, nullable=False),
    Column("detail", Text, nullable=False),
    Column("seen_at", Text, nullable=False),
)

labels = Table(
    "labels",
    metadata,
    Column("seq", Integer, primary_key=True, autoincrement=True),
    Column("sample_id", Text, ForeignKey("samples.sample_id"), nullable=False),
    Column("round_id", Text, ForeignKey("rounds.round_id")),
    Column("label", Text, nullable=False),
    Column("trust", Float, nullable=False),
    Column("annotators", Json, nullable=False),  # their names
    Column("method", Text, nullable=False),
    Column("settled_at", Text, nullable=False, index=True),
    Column("replaced_at", Text),  # null = in force
    info=COVERED,
)
Index(
    "ix_labels_replaced",
    labels.c.replaced_at,
    sqlite_where=text("replaced_at IS NOT NULL"),
    postgresql_where=text("replaced_at IS NOT NULL"),
)
Index(
    "uq_labels_in_force",
    labels.c.sample_id,
    unique=True,
    sqlite_where=text("replaced_at IS NULL"),
    postgresql_where=text("replaced_at IS NULL"),
)

# The answers that a label rests on.
label_answers = Table(
    "label_answers",
    metadata,
    Column("label_seq", Integer, ForeignKey("labels.seq"), primary_key=True),
    Column("answer_seq", Integer, ForeignKey("answers.seq"), primary_key=True, index=True),
    info=COVERED,
)

# Samples whose answers or known class changed since their label was last settled.
pending_settlement = Table(
    "pending_settlement",
    metadata,
    Column("sample_id", Text, ForeignKey("samples.sample_id"), primary_key=True),
)

# Where each sample stands. Triggers keep it and `row_counts` (migration 0008), no code writes it.
sample_states = Table(
    "sample_states",
    metadata,
    Column("sample_id", Text, primary_key=True),
    Column("group_id", Text, nullable=False),
    Column("origin", Text, nullable=False),
    Column("is_audit", Boolean, nullable=False),
    Column("state", Text, nullable=False, index=True),  # a SampleState
)
Index("ix_sample_states_group_id", sample_states.c.group_id, sample_states.c.is_audit)

# Counts of samples by state and origin, of audit samples by state, and of refusals by reason.
row_counts = Table(
    "row_counts",
    metadata,
    Column("name", Text, primary_key=True),  # "sample:pool:ingest", "audit:labelled", "refused:..."
    Column("value", Integer, nullable=False),
)

snapshots = Table(
    "snapshots",
    metadata,
    Column("name", Text, primary_key=True),  # snapshot-0001, also the git tag
    Column("number", Integer, nullable=False, unique=True),
    Column("fingerprint", Text, nullable=False),  # of the table's content
    Column("table_sha256", Text, nullable=False),  # of the parquet file
    Column("rows", Integer, nullable=False),
    Column("commit", Text, nullable=False),  # in the workspace's git repository
    Column("seed", BigInteger, nullable=False),
    Column("created_at", Text, nullable=False),
    info=COVERED,
)

watermarks = Table(
    "watermarks",
    metadata,
    Column("name", Text, primary_key=True),
    Column("value", Text, nullable=False),
    info=COVERED,
)

# Duels: the samples on which a challenger and the champion answer differently, asked in an order
# that was drawn before anybody answered. Models are named as in the registry, which labeling does
# not import.
duels = Table(
    "duels",
    metadata,
    Column("duel_id", Text, primary_key=True),  # duel-0001, duel-0002, ...
    Column("number", Integer, nullable=False, unique=True),
    Column("champion", Text, nullable=False),
    Column("challenger", Text, nullable=False),
    Column("snapshot", Text, nullable=False),  # that the challenger was trained on
    Column("plan", Json, nullable=False),  # all that the verdict follows from beside the answers
    Column("approval", Text, nullable=False),  # who releases the winner: "verdict" or "person"
    Column("began_at", Text, nullable=False),
    Column("ended_at", Text),
    Column("outcome", Text),  # that of the verdict
    Column("verdict_id", Text),
    info=COVERED,
)
Index("uq_duels_models", duels.c.champion, duels.c.challenger, unique=True)

duel_samples = Table(
    "duel_samples",
    metadata,
    Column("duel_id", Text, ForeignKey("duels.duel_id"), primary_key=True),
    Column("sample_id", Text, primary_key=True),  # of samples, or erased_samples
    Column("population", Text, nullable=False),  # "pool" or "traffic"
    Column("position", Integer, nullable=False),  # in the order drawn, from 0 in each population
    Column("champion_output", Json, nullable=False),
    Column("challenger_output", Json, nullable=False),
    Column("round_id", Text, ForeignKey("rounds.round_id")),  # null: not asked
    Column("ending", Text),  # how the question ended when it was counted: an Ending
    Column("answer", Text),  # the label that was counted; null where there was none
    Column("value", Integer),  # 1: only the challenger was right, -1: only the champion, else 0
    Column("counted_at", Text),
    info=COVERED,
)
Index(
    "uq_duel_samples_position",
    *duel_samples.c["duel_id", "population", "position"],
    unique=True,
)
Index("ix_duel_samples_sample_id", duel_samples.c.sample_id)
Index("ix_duel_samples_round_id", duel_samples.c.round_id)


def location_of(row: Any) -> ShardLocation:
    """Where the image of a row of samples, or of a table made of them, lies."""
    return ShardLocation(str(row.shard), int(row.offset), int(row.length), str(row.stored_sha256))
