"""What the ledger promises, checked: uniqueness, lineage, and labels that are classes."""

from collections.abc import Iterator

from sqlalchemy import Column, Engine, func, select

from core.findings import RESTORE, Finding
from core.intents import open_intents
from core.workspace import Workspace
from labeling.kinds import KINDS
from labeling.ledger import overview
from labeling.ledger.rounds import SEND
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

RECOUNT = "`hone fsck --repair` counts anew"


def a_sample_has_one_open_row(engine: Engine, workspace: Workspace) -> Iterator[Finding]:
    """Samples with two open assignments, or with two labels in force."""
    with engine.connect() as connection:
        for table, closed in (
            (assignments, assignments.c.closed_at),
            (labels, labels.c.replaced_at),
        ):
            doubled = connection.execute(
                select(table.c.sample_id, func.count())
                .where(closed.is_(None))
                .group_by(table.c.sample_id)
                .having(func.count() > 1)
            )
            for sample_id, count in doubled:
                yield Finding(
                    "I2",
                    f"sample {sample_id[:12]} has {count} open rows in {table.name}",
                    f"the unique index is gone: {RESTORE}",
                )


def a_round_is_sent_or_pending(engine: Engine, workspace: Workspace) -> Iterator[Finding]:
    """Rounds that were not sent and have no open intent to send them."""
    with engine.connect() as connection:
        pending = open_intents(connection, SEND)
        unsent = connection.scalars(select(rounds.c.round_id).where(rounds.c.sent_at.is_(None)))
        for round_id in unsent:
            if round_id not in pending:
                yield Finding(
                    "I2",
                    f"{round_id} was not sent and has no open intent to send it",
                    f"run `hone label --round {round_id}`",
                )


def counts_are_right(engine: Engine, workspace: Workspace) -> Iterator[Finding]:
    """Samples and counts that stand otherwise in what triggers keep than in the ledger."""
    with engine.connect() as connection:
        stored, computed = (
            overview.stored_standings(connection),
            overview.computed_standings(connection),
        )
        for key in sorted(stored.keys() | computed.keys()):
            if stored.get(key) != computed.get(key):
                what = f"sample {key[:12]} is {_state(stored.get(key))} in sample_states"
                yield Finding("I2", f"{what}, {_state(computed.get(key))} in the ledger", RECOUNT)
        counts, rows = overview.stored_counts(connection), overview.computed_counts(connection)
        for name in sorted(counts.keys() | rows.keys()):
            if counts.get(name) != rows.get(name):
                what = f"row_counts has {counts.get(name, 0)} of {name!r}"
                yield Finding("I2", f"{what}, the ledger has {rows.get(name, 0)}", RECOUNT)


def _state(standing: overview.SampleStanding | None) -> str:
    return "missing" if standing is None else str(standing)


def ledger_rows_lead_to_samples(engine: Engine, workspace: Workspace) -> Iterator[Finding]:
    """Rows of the ledger about a sample that is not in it."""
    references: tuple[Column[str], ...] = (
        answers.c.sample_id,
        assignments.c.sample_id,
        audit.c.sample_id,
        gold.c.sample_id,
        labels.c.sample_id,
    )
    with engine.connect() as connection:
        for column in references:
            unknown = select(column).where(column.not_in(select(samples.c.sample_id))).distinct()
            for key in connection.scalars(unknown):
                yield Finding(
                    "I9", f"{column.table.name}.sample_id {key} is not in samples", RESTORE
                )


def labels_rest_on_answers(engine: Engine, workspace: Workspace) -> Iterator[Finding]:
    """Labels that rest on answers which are gone."""
    with engine.connect() as connection:
        for here, there in (
            (label_answers.c.answer_seq, answers.c.seq),
            (label_answers.c.label_seq, labels.c.seq),
        ):
            lost = select(label_answers).where(here.not_in(select(there)))
            for row in connection.execute(lost):
                what = f"label {row.label_seq} rests on answer {row.answer_seq}: one is gone"
                yield Finding("I9", what, RESTORE)


def labels_are_classes(engine: Engine, workspace: Workspace) -> Iterator[Finding]:
    """Labels in force that name a class which is not in `hone.toml`."""
    classes, kind = workspace.class_names, KINDS[workspace.kind]
    values = (
        select(labels.c.label, func.count(), func.min(labels.c.sample_id))
        .where(labels.c.replaced_at.is_(None))
        .group_by(labels.c.label)
    )
    with engine.connect() as connection:
        for value, rows, example in connection.execute(values).tuples():
            if kind.classes_of(value) <= set(classes):
                continue
            yield Finding(
                "I10",
                f"{rows} samples are labelled {value!r}, for example {example[:12]}",
                f"hone.toml has {', '.join(classes)}: add the class, or correct the answers",
            )
