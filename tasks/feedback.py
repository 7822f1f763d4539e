"""Truths about served predictions: from the spool or a file into the record, and on to the labels.

A confirmed truth becomes an answer to its image, by the annotator `feedback:<who>`, so that it
trains and judges like any other. Not so for images that are asked blind: an audit or gold sample
and one of an open duel are left to annotators, who do not see what was served.
"""

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pandas as pd
from sqlalchemy import Connection

from core.database import writing
from core.locks import Token, fence, only_writer
from core.text import printable
from labeling.consensus.settle_labels import settle_labels
from labeling.formats.imports import LONGEST_ANNOTATOR
from labeling.kinds import KINDS
from labeling.ledger import duels
from labeling.ledger.answers import ANSWER_COLUMNS, known_samples, record_answers
from labeling.ledger.gold import audited, gold_labels
from labeling.ledger.reasons import AnswerKind
from labeling.ledger.watermarks import save_watermark, watermark_of
from models.serving import prediction_store
from models.serving.feedback_records import Feedback, FeedbackRefused
from models.watching import outcome_queries as queries
from models.watching.feedback_file import (
    RefusedTruth,
    SampleTruth,
    Truth,
    read_feedback,
    truth_about,
)
from models.watching.feedback_spool import drain_spool
from models.watching.outcomes import (
    ClassNames,
    RecordedOutcomes,
    join_classes,
    join_waiting,
    record_outcomes,
)
from tasks.context import Context, open_context
from tasks.intake import adopt_served, print_intake, served_images
from tasks.retention import retained_samples

SOURCE = "feedback"  # of the answers, and the watermark: the number of the last truth they have
JOINED = "joined-outcomes"  # watermark: predictions.seq up to which waiting outcomes were joined
CLASSES = "joined-classes"  # watermark: the classes with which truths were joined last
LOCK = "feedback"
AT_ONCE = 2_000  # truths that become answers in one transaction
LISTED = 100  # refused rows that are listed; all are counted


@dataclass
class FeedbackResult:
    """What became of the truths in a file."""

    recorded: RecordedOutcomes = field(default_factory=RecordedOutcomes)
    refused: Counter[str] = field(default_factory=Counter)  # by reason
    refused_rows: list[RefusedTruth] = field(default_factory=list)  # the first of them
    unknown: list[str] = field(default_factory=list)  # predictions that are not known here, newest

    def refuse(self, row: RefusedTruth) -> None:
        """Count a refused row, and list it where there are few."""
        self.refused[row.reason] += 1
        if len(self.refused_rows) < LISTED:
            self.refused_rows.append(row)

    def as_json(self) -> dict[str, Any]:
        """The fields as JSON has them."""
        return {
            **vars(self.recorded),
            "refused": dict(self.refused),
            "refused_rows": [vars(row) for row in self.refused_rows],
            "unknown_predictions": self.unknown,
        }


def take_in(ctx: Context) -> tuple[RecordedOutcomes, int]:
    """Record the truths that the service got and pass confirmed ones on; what became of them.

    Idempotent. The second number is that of new answers.
    """
    with only_writer(ctx.engine, LOCK) as token:
        return _take_in(ctx, token), _pass_on(ctx)


def import_feedback(path: Path) -> FeedbackResult:
    """Record the truths in a file and settle the labels that follow; return what became of them.

    Idempotent: the same file again changes nothing. A bad row is refused by its place, and holds up
    no other.
    """
    ctx = open_context()
    result = FeedbackResult()
    names = ClassNames(ctx.workspace.class_names)
    prediction_store.drain(ctx.engine, ctx.workspace.traffic)
    with only_writer(ctx.engine, LOCK) as token:
        _take_in(ctx, token)
        for part in read_feedback(Path(path).expanduser()):
            good = list(_good(ctx, part, names, result))
            with writing(ctx.engine) as connection:
                fence(connection, token)
                result.recorded += record_outcomes(connection, good, names)
        _pass_on(ctx)
    with only_writer(ctx.engine, "answers") as answers:
        settle_labels(
            ctx.engine, answers, ctx.policies.settling, ctx.workspace.class_names,
            KINDS[ctx.workspace.kind],
        )  # fmt: skip
    with ctx.engine.connect() as connection:
        result.unknown = queries.unknown_predictions(connection, LISTED)
    for line in _lines(result):
        print(printable(line))
    return result


def _take_in(ctx: Context, token: Token) -> RecordedOutcomes:
    """Record what the service got, and join what waited for its prediction or its class."""
    names = ClassNames(ctx.workspace.class_names)
    recorded = drain_spool(ctx.engine, token, ctx.workspace.traffic, names)
    with writing(ctx.engine) as connection:
        fence(connection, token)
        start = int(watermark_of(connection, JOINED) or 0)
        last = prediction_store.count_predictions(connection)
        join_waiting(connection, names, after_seq=start, to_seq=last)
        if watermark_of(connection, CLASSES) != names.digest:  # else none came into hone.toml
            join_classes(connection, names)
            save_watermark(connection, CLASSES, names.digest)
        if last > start:
            save_watermark(connection, JOINED, str(last))
    return recorded


def _good(
    ctx: Context, part: Sequence[Truth], names: ClassNames, result: FeedbackResult
) -> Iterator[Feedback]:
    """The truths of a part; those of an image are about its last prediction by each model."""
    images = [row.sample_id for row in part if isinstance(row, SampleTruth)]
    with ctx.engine.connect() as connection:
        served = queries.predictions_of_samples(connection, images) if images else {}
    for row in part:
        if isinstance(row, RefusedTruth):
            result.refuse(row)
        elif isinstance(row, Feedback):
            yield row
        elif row.sample_id not in served:
            detail = f"sample {row.sample_id[:12]} was never served"
            result.refuse(RefusedTruth(row.where, "NOT_SERVED", detail))
        else:
            for prediction_id in served[row.sample_id]:
                try:
                    yield truth_about(row, prediction_id, source=SOURCE)
                except FeedbackRefused as refused:
                    result.refuse(RefusedTruth(row.where, refused.reason, refused.detail))


def _pass_on(ctx: Context) -> int:
    """Make samples of images with new truths, and answers of the confirmed; return how many."""
    added = 0
    gone: list[str] = []  # of images that are: a sentence about the first, nothing of the others
    names = ClassNames(ctx.workspace.class_names)
    while True:
        with ctx.engine.connect() as connection:
            after = int(watermark_of(connection, SOURCE) or 0)
            changed, number = queries.changed_samples(connection, after, AT_ONCE)
        if number == after:
            _print_gone(gone)
            return added
        gone += _adopt(ctx, changed)
        with ctx.engine.connect() as connection:
            rows = _answers(connection, changed, names)
        with only_writer(ctx.engine, "answers") as token:
            counts = record_answers(
                ctx.engine, token, rows, source=SOURCE, read=changed,
                classes=ctx.workspace.class_names, kind=KINDS[ctx.workspace.kind],
                watermark=str(number),
            )  # fmt: skip
        added += counts["new"]


def _print_gone(gone: Sequence[str]) -> None:
    if gone:
        more = f", and so are {len(gone) - 1:,} more" if len(gone) > 1 else ""
        print(f"{gone[0]}{more}; their truths judge and train nothing")


def _adopt(ctx: Context, sample_ids: Sequence[str]) -> list[str]:
    """Make samples of the served images among these that are none yet.

    Returned is a sentence about the first one that is gone, and nothing in place of the others.
    """
    with ctx.engine.connect() as connection:
        known = set(known_samples(connection, sample_ids))
    absent = retained_samples(ctx, [one for one in sample_ids if one not in known])
    with ctx.engine.connect() as connection:
        rows = queries.served_rows(connection, sorted(absent))
    gone = [
        f"the image {one[:12]} is not retained by [retention] in hone.toml"
        for one in sample_ids
        if one not in known and one not in absent
    ]
    if rows:
        images = served_images(ctx.workspace.traffic, rows, left_out=gone.append)
        intake = adopt_served(ctx, images)
        if intake.added or intake.refused:
            print_intake(intake, "images with feedback")
    return [*gone[:1], *[""] * (len(gone) - 1)]  # a million sentences would take memory


def _answers(connection: Connection, sample_ids: Sequence[str], names: ClassNames) -> pd.DataFrame:
    """What people confirmed about these images, but those that are asked blind or are away."""
    free = set(known_samples(connection, sample_ids)) - audited(connection, sample_ids)
    free -= set(gold_labels(connection).index)
    duel = duels.open_duel(connection)
    if duel is not None:
        free -= set(duels.load_duel_samples(connection, duel.duel_id)["sample_id"])
    rows = [
        {
            "source": SOURCE, "external_id": f"{sample_id}:{who}", "sample_id": sample_id,
            "annotator": f"{SOURCE}:{who}"[:LONGEST_ANNOTATOR], "kind": str(AnswerKind.ANSWER),
            "value": value, "updated_at": at,
        }
        for sample_id, who, truth, at in queries.confirmed_answers(connection, sample_ids)
        if sample_id in free and (value := names.class_of(truth)) is not None
    ]  # fmt: skip
    return pd.DataFrame(rows, columns=ANSWER_COLUMNS, dtype=object)


def _lines(result: FeedbackResult) -> Iterator[str]:
    recorded = result.recorded
    refused = ", ".join(f"{rows} {reason}" for reason, rows in sorted(result.refused.items()))
    yield f"truths: {recorded.new} new, {recorded.known} known, refused: {refused or 'none'}"
    for row in result.refused_rows:
        yield f"  {row.where}: {row.reason}, {row.detail}"
    if (more := result.refused.total() - len(result.refused_rows)) > 0:
        yield f"  and {more} more refused rows"
    if result.unknown:
        yield (
            f"  predictions not known here, joined when they come: {', '.join(result.unknown[:3])}"
            f"{', ...' if len(result.unknown) > 3 else ''}"
        )
