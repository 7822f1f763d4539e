"""Checks of the recorded served predictions."""

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta

from sqlalchemy import Engine, func, select

from core.database import stream
from core.findings import RESTORE, Finding
from core.workspace import Workspace
from models.registry.versions import models
from models.serving.callback_store import undrained_callbacks
from models.serving.erasures import images_left
from models.serving.prediction_store import (
    predictions,
    predictions_unlike_records,
    read_served_image,
    segment_states,
)
from models.serving.segment_reader import Damage

DRAIN_AGAIN = "`hone fsck --repair` takes it from the segment again"
WAITS_DAYS = 1  # the watch drains every hour; longer means that nobody does


def served_images_are_whole(engine: Engine, workspace: Workspace) -> Iterator[Finding]:
    """Predictions whose image is not at the recorded place, or is a different one."""
    with engine.connect() as connection:
        in_hand = select(predictions).where(predictions.c.erased.is_(None))
        for row in stream(connection, in_hand.order_by(predictions.c.seq)):
            try:
                read_served_image(workspace.traffic, row)
            except (OSError, ValueError) as error:
                yield Finding(
                    "I1",
                    f"prediction {row.prediction_id}: {error}",
                    f"restore {workspace.traffic / row.segment} from a backup",
                )


def erased_images_are_gone(engine: Engine, workspace: Workspace) -> Iterator[Finding]:
    """Images of the traffic that were erased, and are there."""
    with engine.connect() as connection:
        for row, path in images_left(connection, workspace.traffic):
            what = f"prediction {row.prediction_id}: its image was erased and is in {path}"
            yield Finding("I17", what, "`hone fsck --repair` erases it again")


def served_records_are_stored(engine: Engine, workspace: Workspace) -> Iterator[Finding]:
    """Segments that are damaged, wait too long, or count as drained further than is stored."""
    for segment in segment_states(engine, workspace.traffic):
        path = workspace.traffic / segment.name
        for damage in segment.damage:
            yield Finding("I1", str(damage), f"restore {path} from a backup and run `hone watch`")
        if segment.lost:
            what = "predictions that count as drained and are not stored"
            yield Finding("I1", f"segment {segment.name}, {what}: {segment.lost}", DRAIN_AGAIN)
        if segment.beyond:
            what = f"segment {segment.name} counts as drained {segment.beyond} bytes behind its end"
            yield Finding("I1", what, f"{DRAIN_AGAIN}; restore {path} if it was cut short")
        if segment.waits_since and segment.waits_since < _days_ago(WAITS_DAYS):
            what = f"predictions that wait to be drained: {segment.waiting}"
            since = f"the oldest was served at {segment.waits_since}"
            yield Finding("I1", f"segment {segment.name}, {what}, {since}", "run `hone watch`")


def callbacks_are_stored(engine: Engine, workspace: Workspace) -> Iterator[Finding]:
    """Segments of callbacks that are damaged, or wait too long to be drained."""
    for path, state in undrained_callbacks(engine, workspace.traffic):
        if isinstance(state, Damage):
            what = f"callbacks in {path.name} from byte {state.start} to {state.end} are damaged"
            yield Finding("I1", what, f"restore {path} from a backup and run `hone collect`")
        elif state < _days_ago(WAITS_DAYS):
            what = f"callbacks in {path.name} wait to be drained, the oldest came at {state}"
            yield Finding("I1", what, "run `hone collect`")


def predictions_are_as_served(engine: Engine, workspace: Workspace) -> Iterator[Finding]:
    """Predictions whose row says otherwise than the record in their segment, and gaps."""
    for prediction_id, what, row in predictions_unlike_records(engine, workspace.traffic):
        remedy = DRAIN_AGAIN if row else RESTORE
        yield Finding("I1", f"prediction {prediction_id}: {what}", remedy)
    with engine.connect() as connection:
        numbers = select(func.count(), func.max(predictions.c.seq)).select_from(predictions)
        rows, last = connection.execute(numbers).one()
        if rows != (last or 0):
            what = f"{last} predictions were drained, {rows} are in predictions"
            yield Finding("I1", what, RESTORE)


def _days_ago(days: int) -> str:
    return (datetime.now(UTC) - timedelta(days=days)).isoformat(timespec="microseconds")


def predictions_lead_to_models(engine: Engine, workspace: Workspace) -> Iterator[Finding]:
    """Models that served a prediction and are not in the database."""
    unknown = (
        select(predictions.c.model)
        .where(predictions.c.model.not_in(select(models.c.version)))
        .distinct()
    )
    with engine.connect() as connection:
        for version in connection.scalars(unknown):
            yield Finding("I9", f"predictions.model {version} is not in models", RESTORE)
