"""Checks of the recorded outcomes of served predictions."""

from collections import Counter
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime, timedelta
from typing import Any

from sqlalchemy import Connection, Engine, select

from core.database import stream
from core.findings import RESTORE, Finding
from core.rows import chunks
from core.workspace import Workspace
from models.serving.prediction_store import predictions
from models.watching.feedback_spool import FOLDER, damage_sentence, spool_states
from models.watching.outcome_tables import outcomes, truth_counts, truths, waiting_outcomes
from models.watching.outcomes import COUNTED, ClassNames, count_key, expected_truths

WAITS_DAYS = 1  # the watch drains every hour; longer means that nobody does
REMADE = "`hone fsck --repair` makes it again from the outcomes"
AT_ONCE = 500


def feedback_is_stored(engine: Engine, workspace: Workspace) -> Iterator[Finding]:
    """Segments of feedback that are damaged, wait too long, or count as drained and are not."""
    limit = (datetime.now(UTC) - timedelta(days=WAITS_DAYS)).isoformat(timespec="microseconds")
    for segment in spool_states(engine, workspace.traffic):
        path = workspace.traffic / FOLDER / segment.name
        for damage in segment.damage:
            remedy = f"restore {path} from a backup and run `hone watch`"
            yield Finding("I1", damage_sentence(damage), remedy)
        if segment.lost:
            what = f"segment {FOLDER}/{segment.name}, predictions whose truths count as drained"
            yield Finding("I1", f"{what} and are not stored: {segment.lost}", RESTORE)
        if segment.waits_since and segment.waits_since < limit:
            what = f"segment {FOLDER}/{segment.name}, truths that wait to be drained"
            since = f"the oldest came at {segment.waits_since}"
            yield Finding("I1", f"{what}: {segment.waiting}, {since}", "run `hone watch`")


def truths_follow_from_outcomes(engine: Engine, workspace: Workspace) -> Iterator[Finding]:
    """Truths, and what waits for its prediction, that are others than the outcomes lead to."""
    names = ClassNames(workspace.class_names)
    with engine.connect() as connection:
        last = ""
        while ids := _next_ids(connection, last):
            last = ids[-1]
            yield from _unlike(connection, ids, names)
        for prediction_id in _without_outcome(connection):
            yield Finding("I9", f"the truth of {prediction_id} rests on nothing", REMADE)
        yield from _wrong_counts(connection)


def _next_ids(connection: Connection, after: str) -> list[str]:
    column = outcomes.c.prediction_id
    query = select(column).where(column > after).distinct().order_by(column).limit(AT_ONCE)
    return list(connection.scalars(query))


def _unlike(connection: Connection, ids: list[str], names: ClassNames) -> Iterator[Finding]:
    expected, waiting = expected_truths(connection, ids, names)
    there: dict[str, Mapping[str, Any]] = {}
    noted: set[str] = set()
    for keys in chunks(ids):
        rows = connection.execute(select(truths).where(truths.c.prediction_id.in_(keys)))
        there |= {row["prediction_id"]: row for row in rows.mappings()}
        column = waiting_outcomes.c.prediction_id
        noted |= set(connection.scalars(select(column).where(column.in_(keys))))
    for key, row in expected.items():
        stored = there.get(key)
        if stored is None:
            yield Finding("I9", f"prediction {key} has an outcome and no truth", REMADE)
            continue
        for name, value in row.items():
            if stored[name] != value:
                what = f"the truth of {key}: {name} is {stored[name]!r}, which outcomes do not give"
                yield Finding("I9", what, REMADE)
    for key in sorted(waiting ^ noted):
        what = "is not listed as waiting" if key in waiting else "is listed as waiting and is known"
        yield Finding("I9", f"prediction {key} has an outcome and {what}", REMADE)


def _without_outcome(connection: Connection) -> Iterator[str]:
    """The predictions of truths that rest on no outcome, or are of no prediction."""
    with_one = select(outcomes.c.prediction_id).intersect(select(predictions.c.prediction_id))
    query = select(truths.c.prediction_id).where(truths.c.prediction_id.not_in(with_one))
    for row in stream(connection, query):
        yield row.prediction_id


def _wrong_counts(connection: Connection) -> Iterator[Finding]:
    counted: Counter[tuple[str, ...]] = Counter()
    for row in stream(connection, select(*truths.c[COUNTED])):
        counted[count_key(row._asdict())] += 1
    stored = {tuple(row[:-1]): row[-1] for row in stream(connection, select(truth_counts))}
    for key in sorted(counted.keys() | stored.keys()):
        if stored.get(key, 0) != counted[key]:
            what = f"truth_counts has {stored.get(key, 0)} of {', '.join(key)}"
            yield Finding("I9", f"{what}; there are {counted[key]}", REMADE)
