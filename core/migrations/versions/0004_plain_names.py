"""Plain names for columns, strategies and reasons; JSON types; the answers that a label rests on."""

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0003"

COLUMNS = {
    "samples": {"look": "thumbnail"},
    "assignments": {
        "guess": "pre_annotation",
        "guess_model": "pre_annotation_model",
        "neighbour": "most_similar",
        "wanted": "required_annotators",
        "outside_id": "external_id",
    },
    "answers": {"outside_id": "external_id"},
    "refused_answers": {"outside_id": "external_id"},
}
JSON_COLUMNS = (
    ("rounds", "config"),
    ("assignments", "probs"),
    ("labels", "annotators"),
    ("intents", "payload"),
    ("models", "config"),
    ("models", "metrics"),
    ("verdicts", "reasons"),
    ("verdicts", "metrics"),
    ("predictions", "probabilities"),
)
STRATEGIES = {  # old name -> new; of the two the longer comes first, it contains the other
    "rare_doubt_herding": "rare_uncertainty_coverage",
    "doubt_herding": "uncertainty_coverage",
}
REASONS = {**STRATEGIES, "second_look": "relabel"}


def upgrade() -> None:
    for table, columns in COLUMNS.items():
        for old, new in columns.items():
            op.execute(f"ALTER TABLE {table} RENAME COLUMN {old} TO {new}")
    _rename_values()
    _link_answers()
    op.create_table(
        "pending_settlement",
        sa.Column("sample_id", sa.Text(), nullable=False),
        sa.ForeignKeyConstraint(
            ["sample_id"], ["samples.sample_id"], name=op.f("fk_pending_settlement_sample_id")
        ),
        sa.PrimaryKeyConstraint("sample_id", name=op.f("pk_pending_settlement")),
    )
    op.create_index("ix_labels_settled_at", "labels", ["settled_at"])
    op.create_index("ix_labels_replaced_at", "labels", ["replaced_at"])
    op.create_index("ix_answers_replaced_at", "answers", ["replaced_at"])
    if op.get_bind().dialect.name == "postgresql":  # SQLite keeps JSON as text
        for table, column in JSON_COLUMNS:
            op.execute(f"ALTER TABLE {table} ALTER COLUMN {column} TYPE JSON USING {column}::json")


def _rename_values() -> None:
    for old, new in REASONS.items():
        op.execute(f"UPDATE assignments SET reason = '{new}' WHERE reason = '{old}'")
    for old, new in STRATEGIES.items():
        op.execute(f"UPDATE rounds SET strategy = '{new}' WHERE strategy = '{old}'")
        op.execute(
            f"UPDATE rounds SET rule = replace(rule, ' {old}', ' {new}'), "
            f"config = replace(config, '\"{old}\"', '\"{new}\"')"
        )
        op.execute(
            f"UPDATE rounds SET rule = '{new}' || substr(rule, {len(old) + 1}) "
            f"WHERE rule LIKE '{old}%'"
        )
    for table in ("answers", "refused_answers"):
        op.execute(f"UPDATE {table} SET source = 'simulated' WHERE source = 'oracle'")


def _link_answers() -> None:
    """Move labels.answers, a JSON list, into a table with foreign keys."""
    op.create_table(
        "label_answers",
        sa.Column("label_seq", sa.Integer(), nullable=False),
        sa.Column("answer_seq", sa.Integer(), nullable=False),
        sa.ForeignKeyConstraint(
            ["label_seq"], ["labels.seq"], name=op.f("fk_label_answers_label_seq")
        ),
        sa.ForeignKeyConstraint(
            ["answer_seq"], ["answers.seq"], name=op.f("fk_label_answers_answer_seq")
        ),
        sa.PrimaryKeyConstraint("label_seq", "answer_seq", name=op.f("pk_label_answers")),
    )
    op.create_index("ix_label_answers_answer_seq", "label_answers", ["answer_seq"])
    listed = "json_each(labels.answers) AS cited"
    seq = "CAST(cited.value AS INTEGER)"
    if op.get_bind().dialect.name == "postgresql":
        listed = "json_array_elements_text(labels.answers::json) AS cited(value)"
    op.execute(
        f"INSERT INTO label_answers (label_seq, answer_seq) "
        f"SELECT DISTINCT labels.seq, answers.seq FROM labels, {listed}, answers "
        f"WHERE answers.seq = {seq}"
    )
    op.execute("ALTER TABLE labels DROP COLUMN answers")
