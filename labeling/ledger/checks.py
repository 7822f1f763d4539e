"""What the ledger promises, checked: uniqueness, lineage, and labels that are classes."""

import json
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from itertools import groupby
from operator import attrgetter

from sqlalchemy import Connection, Engine, func, select

from core.database import stream
from core.findings import RESTORE, Finding
from core.intents import open_intents
from core.workspace import Workspace
from labeling.consensus.settle import METHODS
from labeling.kinds import KINDS
from labeling.ledger import overview
from labeling.ledger.answers import answer_digest
from labeling.ledger.erased import erased_samples
from labeling.ledger.pending import LAST_FULL
from labeling.ledger.reasons import AnswerKind, Outcome
from labeling.ledger.rounds import SEND, round_name
from labeling.ledger.settlement import last_answer
from labeling.ledger.tables import (
    answers,
    assignments,
    duel_samples,
    gold,
    label_answers,
    labels,
    rounds,
    samples,
    watermarks,
)

RECOUNT = "`hone fsck --repair` counts anew"
CLOCKS_DIFFER_DAYS = 1  # at most, of two servers: a watermark has the clock of Label Studio


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
        for key, stored, computed in overview.wrong_standings(connection):
            what = f"sample {key[:12]} is {_state(stored)} in sample_states"
            yield Finding("I2", f"{what}, {_state(computed)} in the ledger", RECOUNT)
        counts, rows = overview.stored_counts(connection), overview.computed_counts(connection)
        for name in sorted(counts.keys() | rows.keys()):
            if counts.get(name) != rows.get(name):
                what = f"row_counts has {counts.get(name, 0)} of {name!r}"
                yield Finding("I2", f"{what}, the ledger has {rows.get(name, 0)}", RECOUNT)


def _state(standing: overview.SampleStanding | None) -> str:
    return "missing" if standing is None else str(standing)


def rounds_are_complete(engine: Engine, workspace: Workspace) -> Iterator[Finding]:
    """Rounds and assignments that are gone: their numbers have a gap; samples that never were."""
    last = func.max(rounds.c.number)
    places = func.max(assignments.c.position)
    counted = select(assignments.c.round_id, func.count(), places).group_by(assignments.c.round_id)
    with engine.connect() as connection:
        numbered, number = connection.execute(select(func.count(), last)).one()
        if numbered != (number or 0):
            yield Finding("I2", f"{number} rounds were made, {numbered} are in rounds", RESTORE)
        for name, number in connection.execute(select(*rounds.c["round_id", "number"])).tuples():
            if name != round_name(number):
                yield Finding("I2", f"{name} has the number {number}", RESTORE)
        for name, rows, position in connection.execute(counted).tuples():
            if rows != position + 1:
                what = f"{name} has {rows} assignments, the last is number {position + 1}"
                yield Finding("I2", what, RESTORE)
        yield from _of_unknown_samples(connection)


def _of_unknown_samples(connection: Connection) -> Iterator[Finding]:
    for table in (assignments, duel_samples):
        known = (select(one.c.sample_id) for one in (samples, erased_samples))
        unknown = [table.c.sample_id.not_in(query) for query in known]
        for name in stream(connection, select(table.c.sample_id).where(*unknown).distinct()):
            what = f"{table.name}.sample_id {name[0]} is no sample and was not erased"
            yield Finding("I2", what, RESTORE)


def answers_are_as_given(engine: Engine, workspace: Workspace) -> Iterator[Finding]:
    """Answers whose annotator, kind or value is another than was recorded."""
    columns = answers.c["seq", "sample_id", "annotator", "kind", "value", "digest"]
    with engine.connect() as connection:
        for row in stream(connection, select(*columns)):
            if answer_digest(row._asdict()) != row.digest:
                what = f"answer {row.seq} to sample {row.sample_id[:12]} is {row.kind} "
                what += f"{row.value!r} of {row.annotator!r}, another was given"
                yield Finding("I9", what, RESTORE)


def labels_rest_on_answers(engine: Engine, workspace: Workspace) -> Iterator[Finding]:
    """Labels that none of the answers they rest on chose, or of other annotators than gave them."""
    cited = label_answers.join(answers, answers.c.seq == label_answers.c.answer_seq)
    in_order = (
        select(*labels.c["seq", "sample_id", "label", "annotators", "method"])
        .add_columns(answers.c.annotator, answers.c.value)
        .join_from(cited, labels, labels.c.seq == label_answers.c.label_seq)
        .order_by(labels.c.seq)
    )
    with engine.connect() as connection:
        for _, group in groupby(stream(connection, in_order), key=attrgetter("seq")):
            rows = list(group)
            row = rows[0]
            of = f"label {row.seq} of sample {row.sample_id[:12]} is {row.label!r}"
            values = sorted({str(one.value) for one in rows})
            names = sorted(one.annotator for one in rows)
            if row.method != AnswerKind.FINAL and row.label not in values:
                yield Finding("I9", f"{of}, its answers are {', '.join(values)}", RESTORE)
            if sorted(row.annotators) != names:
                what = f"{of} by {', '.join(row.annotators)}, its answers are by"
                yield Finding("I9", f"{what} {', '.join(names)}", RESTORE)
        yield from _labels_without_ground(connection)


def _labels_without_ground(connection: Connection) -> Iterator[Finding]:
    settled = labels.c.method.in_([*METHODS, AnswerKind.FINAL.value])
    bare = select(labels).where(settled, labels.c.seq.not_in(select(label_answers.c.label_seq)))
    for row in stream(connection, bare):
        what = f"label {row.seq} of sample {row.sample_id[:12]} by {row.method} rests on no answer"
        yield Finding("I9", what, RESTORE)
    ended = assignments.c.outcome == Outcome.LABELLED
    lost = select(*assignments.c["sample_id", "round_id"])
    lost = lost.where(ended, assignments.c.sample_id.not_in(select(labels.c.sample_id)))
    for row in stream(connection, lost):
        what = f"sample {row.sample_id[:12]} was labelled in {row.round_id} and is not in labels"
        yield Finding("I9", what, RESTORE)
    known = select(gold.c.sample_id, gold.c.label, labels.c.label.label("stands")).select_from(
        gold.join(labels, _GOLD_LABEL, isouter=True)
    )
    for row in stream(connection, known):
        if row.label != row.stands:
            what = f"gold sample {row.sample_id[:12]} is {row.label!r}, its label {row.stands!r}"
            yield Finding("I9", what, RESTORE)


_GOLD_LABEL = (gold.c.sample_id == labels.c.sample_id) & labels.c.replaced_at.is_(None)


def watermarks_are_not_ahead(engine: Engine, workspace: Workspace) -> Iterator[Finding]:
    """Watermarks that lie behind what there is: what lies between would never be read."""
    with engine.connect() as connection:
        for name, value, why in watermarks_ahead(connection):
            what = f"watermark {name!r} is {value!r}, {why}"
            yield Finding("I3", what, "`hone fsck --repair` drops it: all is read anew")


def watermarks_ahead(connection: Connection) -> Iterator[tuple[str, str, str]]:
    """Each watermark that is ahead: its name, its value, and of what."""
    later = (datetime.now(UTC) + timedelta(days=CLOCKS_DIFFER_DAYS)).isoformat()
    for name, value in connection.execute(select(watermarks)).tuples().all():
        if name == LAST_FULL:
            if not _fits(value, last_answer(connection)):
                yield name, value, "beyond the newest answer"
        elif ":" in name and value[:4].isdecimal() and "T" in value and value > later:
            yield name, value, "in the future"


def _fits(value: str, newest: int) -> bool:
    try:
        return int(json.loads(value)["last_answer"]) <= newest
    except (ValueError, KeyError, TypeError):
        return False


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
