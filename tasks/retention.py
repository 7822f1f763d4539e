"""Images of the traffic by the policy `[retention]`: which are retained, and the others erased.

A retained image is taken into the pool, the others never are. What became a sample by then stays
one, until `sample_days` (`tasks.erasure`).
"""

from collections.abc import Collection
from datetime import UTC, datetime, timedelta

import pandas as pd
from sqlalchemy import Connection

from core.database import writing
from core.locks import Token, fence, only_writer
from core.masking import MaskerFails, require_masker
from labeling.ledger.answers import known_samples
from labeling.ledger.refused import refused_for
from labeling.ledger.watermarks import ADOPTED, save_watermark, watermark_of
from models.registry.releases import champion
from models.rollout.spool import drain_shadow
from models.rollout.store import disagreeing_predictions
from models.serving import erasures
from models.serving.prediction_store import count_predictions
from models.serving.retention import DISAGREEMENT, EXEMPLAR
from models.serving.traffic_history import first_since
from models.serving.traffic_window import rows_of
from models.watching.decisions import checked_up_to, newest_decisions
from tasks.context import Context
from tasks.erasure import LOCK, erase_old_samples
from tasks.intake import adopt_served, served_images

RETAINED = "retained-traffic"  # watermark: predictions.seq up to which it is decided what to retain
CHECKED_WITHIN = timedelta(days=1)  # after that an image waits for no check of the traffic
SHOWN = 50  # decisions, the newest, whose exemplars stay
LOOKED_AT = 1_000  # answers of a challenger that differ, the newest
NO_MASK = "none"
AT_ONCE = 2_000


def decide_retained(ctx: Context) -> int:
    """Decide of all drained traffic which images are retained; return the last prediction."""
    policy = ctx.policies.retention
    with ctx.engine.connect() as connection:
        last = count_predictions(connection)
        if not policy.thins or _mark(connection, RETAINED) == last:
            return last
    with only_writer(ctx.engine, LOCK) as token:
        while True:
            with writing(ctx.engine) as connection:
                fence(connection, token)
                after = _mark(connection, RETAINED)
                last, _ = erasures.retain(
                    connection, policy, after=after, limit=AT_ONCE, known=_samples_of
                )
                if last == after:
                    return last
                save_watermark(connection, RETAINED, str(last))


def retained_rows(ctx: Context, rows: pd.DataFrame) -> pd.DataFrame:
    """Those of these predictions whose image may become a sample."""
    if not ctx.policies.retention.thins:
        return rows
    with ctx.engine.connect() as connection:
        ids = erasures.retained_of(connection, rows["prediction_id"].tolist())
    return rows[rows["prediction_id"].isin(ids)]


def retained_samples(ctx: Context, sample_ids: Collection[str]) -> set[str]:
    """Those of these drained images that may become samples: decided now, if it is not yet."""
    if not ctx.policies.retention.thins:
        return set(sample_ids)
    decide_retained(ctx)
    with ctx.engine.connect() as connection:
        return erasures.retained_samples(connection, sample_ids)


def retain_disagreements(ctx: Context, prediction_ids: Collection[str]) -> None:
    """Retain images that two models answered differently, before they become samples."""
    if not ctx.policies.retention.thins:
        return
    with only_writer(ctx.engine, LOCK) as token, writing(ctx.engine) as connection:
        fence(connection, token)
        erasures.retain_named(connection, dict.fromkeys(prediction_ids, DISAGREEMENT))


def erase_images(ctx: Context, who: str) -> dict[str, int]:
    """Erase what is neither retained nor too young; return how many images, by why. Idempotent.

    While the masker does not work nothing is thinned: what is to be retained could not be a sample.
    """
    policy = ctx.policies.retention
    decided = 0
    if policy.thins and masker_problem(ctx) is None:
        decided = decide_retained(ctx)
        _retain_named(ctx)
    with only_writer(ctx.engine, LOCK) as token:
        counts = {"finished": erasures.carry_out(ctx.engine, token, ctx.workspace.traffic)}
        ends = {erasures.THINNING: min(decided, _checked(ctx)), erasures.AGE: 0}
        if policy.mask != NO_MASK:
            ends[erasures.MASKED] = min(_adopted(ctx), _checked(ctx))
        if policy.days:
            ends[erasures.AGE] = _before(ctx, timedelta(days=policy.days))
        for why, last in ends.items():
            counts[why] = _erase(ctx, token, who=who, why=why, last=last)
    counts[erasures.SAMPLE_AGE] = erase_old_samples(ctx, who)
    return {why: images for why, images in counts.items() if images}


def masker_problem(ctx: Context) -> str | None:
    """Why the masker of the policy does not work; None if it does."""
    try:
        require_masker(ctx.policies.retention.mask)
    except MaskerFails as problem:
        return str(problem)
    return None


def _erase(ctx: Context, token: Token, *, who: str, why: str, last: int) -> int:
    images = 0
    name = f"{why}-traffic"
    while True:
        with writing(ctx.engine) as connection:
            fence(connection, token)
            after = _mark(connection, name)
            if after >= last:
                return images
            policy = ctx.policies.retention
            reached = erasures.decide(
                connection, policy, who=who, why=why, after=after, last=last, unmasked=_unmasked
            )
            save_watermark(connection, name, str(reached))
        images += erasures.carry_out(ctx.engine, token, ctx.workspace.traffic)


def _retain_named(ctx: Context) -> None:
    """Let images stay that show what drifted, or that two models answered differently: as samples.

    So a round may ask about them.
    """
    drain_shadow(ctx.engine, ctx.workspace.traffic)
    with ctx.engine.connect() as connection:
        reasons = dict.fromkeys(disagreeing_predictions(connection, LOOKED_AT), DISAGREEMENT)
        for made in newest_decisions(connection, SHOWN):
            reasons |= dict.fromkeys(made.exemplars or (), EXEMPLAR)
        new = sorted(reasons.keys() - erasures.retained_of(connection, reasons))
        rows = rows_of(connection, new)
        known = set(known_samples(connection, [row.sample_id for row in rows]))
    if not new:
        return
    absent = [row for row in rows if row.sample_id not in known and row.erased is None]
    images = served_images(ctx.workspace.traffic, absent)
    adopt_served(ctx, images)
    with only_writer(ctx.engine, LOCK) as token, writing(ctx.engine) as connection:
        fence(connection, token)
        erasures.retain_named(connection, {name: reasons[name] for name in new})


def _samples_of(connection: Connection, sample_ids: Collection[str]) -> set[str]:
    """Those of these images that are samples: by a copy that was served before, or as a file."""
    return set(known_samples(connection, sorted(sample_ids)))


def _unmasked(connection: Connection, prediction_ids: Collection[str]) -> set[str]:
    """Those of these predictions whose image was refused because its masking failed."""
    paths = {f"served:{name}": name for name in prediction_ids}
    return {paths[path] for path in refused_for(connection, "NOT_MASKED", paths)}


def _adopted(ctx: Context) -> int:
    """The last prediction whose image is a sample by now, if it is to be one."""
    with ctx.engine.connect() as connection:
        return _mark(connection, ADOPTED)


def _checked(ctx: Context) -> int:
    """The last prediction that a check of the traffic has looked at, or that is a day old."""
    model = champion(ctx.engine)
    checked = 0 if model is None else checked_up_to(ctx.engine, model)
    return max(checked, _before(ctx, CHECKED_WITHIN))


def _before(ctx: Context, age: timedelta) -> int:
    """The last prediction that was served so long ago."""
    moment = (datetime.now(UTC) - age).isoformat(timespec="microseconds")
    with ctx.engine.connect() as connection:
        return first_since(connection, moment, count_predictions(connection)) - 1


def _mark(connection: Connection, name: str) -> int:
    return int(watermark_of(connection, name) or 0)
