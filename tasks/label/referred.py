"""Images that the service answered with `needs_review`, at the front of the next batch."""

from collections.abc import Collection, Mapping
from datetime import UTC, datetime, timedelta

from core.locks import LockBusy
from core.masking import MaskerFails
from labeling.batches.referred import referred_places
from labeling.batches.select import SelectionConfig
from labeling.ledger.answers import known_samples
from labeling.ledger.reasons import Reason
from labeling.ledger.rounds import load_pool
from models.serving import prediction_store
from models.serving.traffic_window import referred_rows
from tasks.context import Context
from tasks.intake import adopt_served, print_intake, served_images
from tasks.retention import retained_samples

MORE = 2  # times the places: of images that become samples now a part is drawn for the audit


def take_in_referred(ctx: Context, selection: SelectionConfig) -> list[str]:
    """Images marked for a person that may be asked about, the newest first; samples by now.

    An audit image among them waits for its turn like all others of the audit: if these came first,
    the audit would hold more of what the model is unsure of than the traffic does.
    """
    places = referred_places(ctx.policies.review, selection)
    if not places:
        return []
    prediction_store.drain(ctx.engine, ctx.workspace.traffic)
    since = datetime.now(UTC) - timedelta(days=ctx.policies.review.days)
    with ctx.engine.connect() as connection:
        rows = referred_rows(connection, since.isoformat(timespec="microseconds"))
        known = set(known_samples(connection, list(rows)))
        pool = set(load_pool(connection)["sample_id"]) if known else set()
    absent = [name for name, row in rows.items() if name not in known and row.erased is None]
    try:
        may_be = retained_samples(ctx, absent)
    except LockBusy as busy:
        print(f"images marked for a person wait for the next batch: {busy}")
        may_be = set()
    names = [name for name in rows if name in pool or name in may_be][: MORE * places]
    new = [rows[name] for name in names if name not in known]
    if new:
        try:
            images = served_images(ctx.workspace.traffic, new)
            intake = adopt_served(ctx, images)
        except (LockBusy, MaskerFails) as busy:  # an ingest of hours: the batch does not wait
            print(f"images marked for a person wait for the next batch: {busy}")
        else:
            print_intake(intake, "images marked for a person")
    return names


def referred_part(
    ctx: Context,
    names: Collection[str],
    pool: Collection[str],
    selection: SelectionConfig,
    most: int,
) -> Mapping[str, str]:
    """The reason by sample, in the order to ask, of those that are in the pool."""
    places = min(referred_places(ctx.policies.review, selection), most)
    mine = [name for name in names if name in pool and name not in selection.named][:places]
    if mine:
        print(f"{len(mine)} images come first: their answers were marked for a person")
    return dict.fromkeys(mine, str(Reason.REFERRED))
