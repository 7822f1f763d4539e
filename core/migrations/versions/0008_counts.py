"""Where each sample stands, and counts of it, kept by triggers: a status reads a dozen rows.

A later migration that copies one of the tables named here (SQLite's batch mode) drops its triggers:
it must create them again, with `create_triggers`.
"""

import sqlalchemy as sa
from alembic import op

revision = "0008"
down_revision = "0007"

# The state of a row of sample_states, from what the ledger has of it.
STATE = """CASE
    WHEN EXISTS (SELECT 1 FROM labels WHERE labels.sample_id = sample_states.sample_id
                 AND labels.replaced_at IS NULL) THEN 'labelled'
    WHEN EXISTS (SELECT 1 FROM assignments WHERE assignments.sample_id = sample_states.sample_id
                 AND assignments.closed_at IS NULL) THEN 'open'
    WHEN EXISTS (SELECT 1 FROM assignments WHERE assignments.sample_id = sample_states.sample_id
                 AND assignments.outcome = 'skipped') THEN 'skipped'
    WHEN EXISTS (SELECT 1 FROM sample_states AS audited
                 WHERE audited.group_id = sample_states.group_id AND audited.is_audit) THEN 'held'
    ELSE 'pool' END"""
ADD = "INSERT INTO row_counts (name, value) VALUES ({name}, {by}) ON CONFLICT (name) DO UPDATE SET value = row_counts.value + excluded.value"


def upgrade() -> None:
    op.create_table(
        "sample_states",
        sa.Column("sample_id", sa.Text(), nullable=False),
        sa.Column("group_id", sa.Text(), nullable=False),
        sa.Column("origin", sa.Text(), nullable=False),
        sa.Column("is_audit", sa.Boolean(), nullable=False),
        sa.Column("state", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("sample_id", name=op.f("pk_sample_states")),
    )
    op.create_table(
        "row_counts",
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("value", sa.Integer(), nullable=False),
        sa.PrimaryKeyConstraint("name", name=op.f("pk_row_counts")),
    )
    op.create_index("ix_sample_states_state", "sample_states", ["state"])
    op.create_index("ix_sample_states_group_id", "sample_states", ["group_id", "is_audit"])
    op.execute(
        "INSERT INTO sample_states SELECT samples.sample_id, group_id, origin, "
        "audit.sample_id IS NOT NULL, 'pool' "
        "FROM samples LEFT JOIN audit ON audit.sample_id = samples.sample_id"
    )
    op.execute(f"UPDATE sample_states SET state = {STATE}")
    for name, table in (
        ("'sample:' || state || ':' || origin", "sample_states"),
        ("'audit:' || state", "sample_states WHERE is_audit"),
        ("'refused:' || reason", "refusals"),
        ("'refused answers'", "refused_answers"),
    ):
        op.execute(f"INSERT INTO row_counts SELECT {name}, count(*) FROM {table} GROUP BY 1")
    create_triggers(op.get_bind().dialect.name)


def create_triggers(dialect: str) -> None:
    """Create all triggers that keep sample_states and row_counts."""
    for table, event, condition, statements in _triggers():
        name = f"count_{table}_{event.split()[0].lower()}"
        body = "; ".join(statements) + ";"
        if dialect == "sqlite":  # which has IS DISTINCT FROM since 3.39 only
            when = f"WHEN {condition.replace('IS DISTINCT FROM', 'IS NOT')}" if condition else ""
            op.execute(
                f"CREATE TRIGGER {name} AFTER {event} ON {table} FOR EACH ROW {when} "
                f"BEGIN {body} END"
            )
            continue
        # Transactions that count take turns, so that two of them never wait for each other's rows.
        op.execute(
            f"CREATE FUNCTION {name}() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN "
            f"PERFORM pg_advisory_xact_lock(hashtext('hone row_counts')); {body} "
            "RETURN NULL; END $$"
        )
        when = f"WHEN ({condition})" if condition else ""
        op.execute(
            f"CREATE TRIGGER {name} AFTER {event} ON {table} FOR EACH ROW {when} "
            f"EXECUTE FUNCTION {name}()"
        )


def _triggers() -> list[tuple[str, str, str, list[str]]]:
    """Table, event, condition and statements of each trigger."""
    changed = "OLD.{0} IS DISTINCT FROM NEW.{0}".format
    return [
        ("samples", "INSERT", "", [
            # A new sample has no labels and assignments yet: their rows refer to it.
            "INSERT INTO sample_states VALUES (NEW.sample_id, NEW.group_id, NEW.origin, false, "
            "CASE WHEN EXISTS (SELECT 1 FROM sample_states AS audited WHERE audited.group_id = "
            "NEW.group_id AND audited.is_audit) THEN 'held' ELSE 'pool' END)",
        ]),
        ("samples", "UPDATE OF group_id", changed("group_id"), [
            "UPDATE sample_states SET group_id = NEW.group_id WHERE sample_id = NEW.sample_id",
            _settle("NEW.sample_id"),
            f"UPDATE sample_states SET state = {STATE} WHERE group_id IN (OLD.group_id, "
            "NEW.group_id) AND EXISTS (SELECT 1 FROM sample_states AS moved "
            "WHERE moved.sample_id = NEW.sample_id AND moved.is_audit)",
        ]),
        ("samples", "DELETE", "", ["DELETE FROM sample_states WHERE sample_id = OLD.sample_id"]),
        ("labels", "INSERT", "", [_settle("NEW.sample_id")]),
        ("labels", "UPDATE OF replaced_at", changed("replaced_at"), [_settle("NEW.sample_id")]),
        ("labels", "DELETE", "", [_settle("OLD.sample_id")]),
        ("assignments", "INSERT", "", [_settle("NEW.sample_id")]),
        ("assignments", "UPDATE OF closed_at, outcome",
         f"{changed('closed_at')} OR {changed('outcome')}", [_settle("NEW.sample_id")]),
        ("assignments", "DELETE", "", [_settle("OLD.sample_id")]),
        ("audit", "INSERT", "", _mark_audit("NEW.sample_id", "true")),
        ("audit", "DELETE", "", _mark_audit("OLD.sample_id", "false")),
        ("sample_states", "INSERT", "", _count("NEW", 1)),
        ("sample_states", "UPDATE OF state, is_audit",
         f"{changed('state')} OR {changed('is_audit')}", [*_count("OLD", -1), *_count("NEW", 1)]),
        ("sample_states", "DELETE", "", _count("OLD", -1)),
        ("refusals", "INSERT", "", [ADD.format(name="'refused:' || NEW.reason", by=1)]),
        ("refusals", "DELETE", "", [ADD.format(name="'refused:' || OLD.reason", by=-1)]),
        ("refused_answers", "INSERT", "", [ADD.format(name="'refused answers'", by=1)]),
        ("refused_answers", "DELETE", "", [ADD.format(name="'refused answers'", by=-1)]),
    ]  # fmt: skip


def _settle(sample_id: str) -> str:
    return f"UPDATE sample_states SET state = {STATE} WHERE sample_id = {sample_id}"


def _mark_audit(sample_id: str, is_audit: str) -> list[str]:
    group = f"(SELECT group_id FROM sample_states WHERE sample_id = {sample_id})"
    return [
        f"UPDATE sample_states SET is_audit = {is_audit} WHERE sample_id = {sample_id}",
        f"UPDATE sample_states SET state = {STATE} WHERE group_id = {group}",
    ]


def _count(row: str, by: int) -> list[str]:
    audited = f"CASE WHEN {row}.is_audit THEN {by} ELSE 0 END"
    return [
        ADD.format(name=f"'sample:' || {row}.state || ':' || {row}.origin", by=by),
        ADD.format(name=f"'audit:' || {row}.state", by=audited),
    ]
