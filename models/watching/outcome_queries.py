"""What the outcomes of served predictions say: counts, rows to judge and to train on, history."""

from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, fields
from datetime import date
from typing import TYPE_CHECKING, Any

from sqlalchemy import Connection, Row, func, select

from core.rows import chunks
from models.serving.feedback_records import Strength
from models.serving.prediction_store import predictions
from models.watching.outcome_tables import (
    Standing,
    outcomes,
    truth_counts,
    truths,
    waiting_outcomes,
)
from models.watching.outcomes import DAY, HOUR, decided_at
from models.watching.performance import Cell

if TYPE_CHECKING:
    import pandas as pd

PERIODS = ("hour", "day", "week")
MOST_SLICES = 50  # sources of images that are reported on
MOST_WEAK = 100_000  # truths, the newest, among which weak ones are looked for
CONFIRMED = (  # of a row of truths: what people decided about the prediction
    (outcomes.c.prediction_id == truths.c.prediction_id)
    & outcomes.c.superseded_by.is_(None)
    & (outcomes.c.strength == Strength.CONFIRMED)
)
JUDGED_COLUMNS = (
    "number", "prediction_id", "sample_id", "seq", "slice", "label", "truth", "confidence",
    "probabilities", "served_at",
)  # fmt: skip


@dataclass(frozen=True)
class OutcomeCounts:
    """How many truths there are of each standing, and how many wait for their prediction."""

    judging: int
    training: int
    disputed: int
    unknown_class: int
    waiting: int  # predictions that are not known here, perhaps not yet

    @property
    def total(self) -> int:
        """All predictions that have an outcome."""
        return self.judging + self.training + self.disputed + self.unknown_class + self.waiting


def outcome_counts(connection: Connection) -> OutcomeCounts:
    """The counts over all models and times."""
    by = select(truth_counts.c.standing, func.sum(truth_counts.c.rows))
    rows = dict(connection.execute(by.group_by(truth_counts.c.standing)).tuples().all())
    waiting = connection.scalar(select(func.count()).select_from(waiting_outcomes)) or 0
    judging, training, disputed, unknown = (int(rows.get(one, 0)) for one in Standing)
    return OutcomeCounts(judging, training, disputed, unknown, waiting)


def judged_counts(
    connection: Connection,
    model: str,
    *,
    since: str | None = None,
    until: str | None = None,
) -> dict[Cell, int]:
    """How often each class was answered where each was true, of predictions served in a time.

    `since` is the first hour that counts, `until` the first that does not, as times or the
    beginnings of times (2026-01-31T17). Only truths that judge.
    """
    query = select(*truth_counts.c["label", "truth"], func.sum(truth_counts.c.rows)).where(
        truth_counts.c.model == model, truth_counts.c.standing == Standing.JUDGES
    )
    if since is not None:
        query = query.where(truth_counts.c.hour >= since[:HOUR])
    if until is not None:
        query = query.where(truth_counts.c.hour < until[:HOUR])
    grouped = query.group_by(*truth_counts.c["label", "truth"])
    return {(row[0], row[1]): int(row[2]) for row in connection.execute(grouped)}


def counts_by_period(
    connection: Connection, model: str, period: str, *, last: int
) -> dict[str, dict[Cell, int]]:
    """The counts of the newest periods with a truth that judges, oldest first, by their name.

    An hour is named 2026-01-31T17, a day 2026-01-31, a week by its number, 2026-W05 (UTC).
    """
    if period not in PERIODS:
        raise ValueError(f"the period is {period!r}; choose one of {', '.join(PERIODS)}")
    mine = truth_counts.c.model == model, truth_counts.c.standing == Standing.JUDGES
    hours = connection.scalars(select(truth_counts.c.hour).where(*mine).distinct()).all()
    newest = sorted({period_of(hour, period) for hour in hours})[-last:]
    if not newest:
        return {}
    first = min(hour for hour in hours if period_of(hour, period) >= newest[0])
    columns = truth_counts.c["hour", "label", "truth", "rows"]
    rows = connection.execute(select(*columns).where(*mine, truth_counts.c.hour >= first))
    counts: defaultdict[str, dict[Cell, int]] = defaultdict(dict)
    for hour, label, truth, number in rows.tuples():
        of = counts[period_of(hour, period)]
        of[label, truth] = of.get((label, truth), 0) + number
    return {name: counts[name] for name in newest}


def period_of(hour: str, period: str) -> str:
    """The name of the period that an hour is in."""
    if period == "hour":
        return hour
    if period == "day":
        return hour[:DAY]
    year, week, _ = date.fromisoformat(hour[:DAY]).isocalendar()
    return f"{year:04d}-W{week:02d}"


def counts_by_slice(
    connection: Connection, model: str, *, most: int = MOST_SLICES
) -> dict[str, dict[Cell, int]]:
    """The counts of the sources with the most truths that judge, by name; without one, empty."""
    mine = truth_counts.c.model == model, truth_counts.c.standing == Standing.JUDGES
    rows = func.sum(truth_counts.c.rows)
    ranked = select(truth_counts.c.slice).where(*mine).group_by(truth_counts.c.slice)
    names = connection.scalars(ranked.order_by(rows.desc(), truth_counts.c.slice).limit(most)).all()
    of = truth_counts.c["slice", "label", "truth"]
    query = select(*of, rows).where(*mine, truth_counts.c.slice.in_(names)).group_by(*of)
    counts: dict[str, dict[Cell, int]] = {name: {} for name in sorted(names)}
    for name, label, truth, number in connection.execute(query).tuples():
        counts[name][label, truth] = int(number)
    return counts


def judged_rows(
    connection: Connection, model: str, *, after: int = 0, limit: int = 100_000
) -> "pd.DataFrame":
    """The predictions of a model whose truth judges and came or changed after number `after`.

    In the order of number, with JUDGED_COLUMNS: late truths come when they come.
    """
    import pandas as pd

    query = (
        select(
            *truths.c["number", "prediction_id", "sample_id"], predictions.c.seq,
            *truths.c["slice", "label", "truth"],
            *predictions.c["confidence", "probabilities", "served_at"],
        )
        .join(predictions, predictions.c.prediction_id == truths.c.prediction_id)
        .where(truths.c.model == model, truths.c.standing == Standing.JUDGES)
        .where(truths.c.number > after)
        .order_by(truths.c.number)
        .limit(limit)
    )  # fmt: skip
    return pd.DataFrame(connection.execute(query).all(), columns=list(JUDGED_COLUMNS))


def judged_samples(connection: Connection, model: str, limit: int) -> list[str]:
    """The images of the newest truths that judge a model, one for each truth."""
    query = select(truths.c.sample_id).where(truths.c.standing == Standing.JUDGES)
    newest = query.where(truths.c.model == model).order_by(truths.c.number.desc())
    return list(connection.scalars(newest.limit(limit)))


def last_number(connection: Connection) -> int:
    """The number of the truth that came or changed last; 0 before the first."""
    return connection.scalar(select(func.max(truths.c.number))) or 0


def changed_samples(connection: Connection, after: int, limit: int) -> tuple[list[str], int]:
    """The images whose truths came or changed after a number, and the number reached."""
    query = select(*truths.c["sample_id", "number"]).where(truths.c.number > after)
    rows = connection.execute(query.order_by(truths.c.number).limit(limit)).tuples().all()
    return sorted({row[0] for row in rows}), max((row[1] for row in rows), default=after)


def confirmed_answers(
    connection: Connection, sample_ids: Sequence[str]
) -> Iterator[tuple[str, str, str, str]]:
    """What each person decided about each of these images: sample, who, truth, when.

    Of one person who decided about several predictions of an image the newest decision.
    """
    newest: dict[tuple[str, str], tuple[str, int, str]] = {}
    for keys in chunks(sample_ids):
        query = (
            select(truths.c.sample_id, predictions.c.served_at, *outcomes.c)
            .join(outcomes, CONFIRMED)
            .join(predictions, predictions.c.prediction_id == truths.c.prediction_id)
            .where(truths.c.sample_id.in_(keys))
        )
        for row in connection.execute(query).mappings():
            when = decided_at(dict(row), row["served_at"]), row["seq"], row["truth"]
            key = row["sample_id"], row["who"]
            newest[key] = max(newest.get(key, when), when)
    for (sample_id, who), (at, _, truth) in sorted(newest.items()):
        yield sample_id, who, truth, at


@dataclass(frozen=True)
class WeakTruth:
    """The weak truth of an image."""

    sample_id: str
    truth: str
    day: str  # on which it was served first
    repeats: bool  # what was served
    prediction_id: str


def weak_truths(connection: Connection) -> list[WeakTruth]:
    """The images with weak or implicit truths that agree, and no confirmed or disputed one.

    Of the newest truths, so many as fit into memory.
    """
    columns = truths.c["sample_id", "truth", "hour", "label", "prediction_id", "standing"]
    newest = truths.c.number > last_number(connection) - MOST_WEAK
    trains = select(truths.c.sample_id).where(truths.c.standing == Standing.TRAINS, newest)
    query = select(*columns).where(truths.c.sample_id.in_(trains))
    by_sample: defaultdict[str, list[Row[Any]]] = defaultdict(list)
    for row in connection.execute(query.order_by(truths.c.hour, truths.c.prediction_id)):
        by_sample[row.sample_id].append(row)
    return [
        WeakTruth(
            sample_id, rows[0].truth, rows[0].hour[:DAY],
            all(one.truth == one.label for one in rows), rows[0].prediction_id,
        )
        for sample_id, rows in sorted(by_sample.items())
        if {one.standing for one in rows} == {str(Standing.TRAINS)}
        and len({one.truth for one in rows}) == 1
    ]  # fmt: skip


def predictions_of_samples(
    connection: Connection, sample_ids: Sequence[str]
) -> dict[str, list[str]]:
    """The last prediction that each model made for each of these images."""
    last: dict[tuple[str, str], str] = {}
    for keys in chunks(sample_ids):
        query = select(*predictions.c["sample_id", "model", "prediction_id"])
        query = query.where(predictions.c.sample_id.in_(keys)).order_by(predictions.c.seq)
        for sample_id, model, prediction_id in connection.execute(query).tuples():
            last[sample_id, model] = prediction_id
    by_sample: defaultdict[str, list[str]] = defaultdict(list)
    for (sample_id, _), prediction_id in last.items():
        by_sample[sample_id].append(prediction_id)
    return by_sample


def served_rows(connection: Connection, sample_ids: Sequence[str]) -> list[Row[Any]]:
    """The first prediction of each of these images, with the place of the bytes received."""
    rows: dict[str, Row[Any]] = {}
    columns = predictions.c["prediction_id", "sample_id", "segment", "offset", "length", "seq"]
    for keys in chunks(sample_ids):
        query = select(*columns).where(predictions.c.sample_id.in_(keys))
        for row in connection.execute(query.order_by(predictions.c.seq)):
            rows.setdefault(row.sample_id, row)
    return list(rows.values())


def disputed_samples(connection: Connection, limit: int) -> list[str]:
    """The images about which confirmed truths differ, the newest first; not those of weak ones."""
    disputed = truth_counts.c.standing == Standing.DISPUTED
    if not connection.scalar(select(truth_counts.c.rows).where(disputed).limit(1)):
        return []
    was_confirmed = select(outcomes.c.seq).where(CONFIRMED).exists()
    query = select(truths.c.sample_id).where(truths.c.standing == Standing.DISPUTED, was_confirmed)
    rows = connection.scalars(query.order_by(truths.c.number.desc()).limit(limit))
    return list(dict.fromkeys(rows))


@dataclass(frozen=True)
class Outcome:
    """A truth about a prediction as it is on record."""

    truth: str
    who: str
    source: str
    strength: str
    at: str | None
    received_at: str
    repeats: bool | None
    superseded_by: str | None


def history_of(connection: Connection, prediction_id: str) -> list[Outcome]:
    """Every truth that came for a prediction, in the order of recording."""
    columns = outcomes.c[tuple(one.name for one in fields(Outcome))]
    query = select(*columns).where(outcomes.c.prediction_id == prediction_id)
    return [Outcome(*row) for row in connection.execute(query.order_by(outcomes.c.seq))]


def unknown_predictions(connection: Connection, limit: int) -> list[str]:
    """Predictions that have an outcome and are not known here, the newest first."""
    query = select(waiting_outcomes.c.prediction_id).order_by(waiting_outcomes.c.since.desc())
    return list(connection.scalars(query.limit(limit)))
