"""Images that champion and challenger answered differently in a trial, in the next batch."""

from collections.abc import Collection, Mapping

from core.locks import LockBusy
from core.masking import MaskerFails
from core.text import counted
from labeling.batches.select import SelectionConfig, share_of
from labeling.ledger.answers import known_samples
from labeling.ledger.reasons import Reason
from models.rollout.spool import drain_shadow
from models.rollout.store import disagreeing_samples
from models.serving import prediction_store
from models.watching.outcome_queries import served_rows
from tasks.context import Context
from tasks.intake import adopt_served, print_intake, served_images
from tasks.label.drift_batch import DriftPart, places_beside
from tasks.label.referred import referred_part
from tasks.retention import retain_disagreements

LOOKED_AT = 1_000  # disagreements, the newest
MORE = 2  # times the places: of images that become samples now a part is drawn for the audit


def take_in_shadow(ctx: Context, selection: SelectionConfig) -> list[str]:
    """Images on which two models differed, the newest first; those of use now are samples by now.

    One that is drawn for the audit waits for its turn like all others of the audit.
    """
    places = _places(ctx, selection)
    if not places:
        return []
    drain_shadow(ctx.engine, ctx.workspace.traffic)
    with ctx.engine.connect() as connection:
        names = disagreeing_samples(connection, LOOKED_AT)
        known = set(known_samples(connection, names))
    new = [name for name in names if name not in known][: MORE * places]
    if new:
        prediction_store.drain(ctx.engine, ctx.workspace.traffic)
        with ctx.engine.connect() as connection:
            rows = served_rows(connection, new)
        try:
            retain_disagreements(ctx, [row.prediction_id for row in rows])
            images = served_images(ctx.workspace.traffic, rows)
            intake = adopt_served(ctx, images)
        except (LockBusy, MaskerFails) as busy:  # the batch does not wait for others
            print(f"images that two models answered differently wait for the next batch: {busy}")
        else:
            print_intake(intake, "images that two models answered differently")
    return names


def first_part(
    ctx: Context,
    referred: Collection[str],
    differing: Collection[str],
    pool: Collection[str],
    selection: SelectionConfig,
    drift: DriftPart | None,
) -> dict[str, str]:
    """The reason by sample of what comes before a strategy's choice: also what was referred.

    An open drift keeps its places; of the others the referred ones are given theirs first.
    """
    most = places_beside(drift, selection)
    first = referred_part(ctx, referred, pool, selection, most)
    others = [name for name in differing if name not in first]
    return {**shadow_part(ctx, others, pool, selection, most - len(first)), **first}


def shadow_part(
    ctx: Context,
    names: Collection[str],
    pool: Collection[str],
    selection: SelectionConfig,
    most: int,
) -> Mapping[str, str]:
    """The reason by sample, in the order to ask, of those that are in the pool."""
    places = min(_places(ctx, selection), most)
    mine = [name for name in names if name in pool and name not in selection.named][:places]
    if mine:
        print(f"{counted(len(mine), 'image')} that two models answered differently come first")
    return dict.fromkeys(mine, str(Reason.SHADOW))


def _places(ctx: Context, selection: SelectionConfig) -> int:
    wanted = share_of(selection.size, ctx.policies.release.label_share)
    return max(min(wanted, selection.size - selection.promised), 0)
