"""Weak truths about served images, trained on with less weight than labels, and never judging.

They go into the snapshot as soft rows: only of images in the pool that
resemble nothing that is measured on. Truths that merely repeat what the model answered are capped,
or a model would train on its own answers and confirm itself.
"""

import json
from collections import defaultdict
from collections.abc import Sequence

import pandas as pd
from sqlalchemy import Connection

from core.rows import chunks
from labeling.ledger.rounds import pool_ids
from labeling.ledger.tables import sample_states
from labeling.snapshots.table import SOFT_COLUMNS
from models.watching.outcome_queries import WeakTruth, weak_truths
from models.watching.signals import WatchPolicy
from tasks.soft_rows import SoftChoice

SOURCE = "feedback, weak"


def with_weak_truths(
    connection: Connection,
    chosen: SoftChoice,
    policy: WatchPolicy,
    classes: Sequence[str],
    *,
    soft_weight: float,
) -> SoftChoice:
    """The soft rows of the next snapshot with the weak truths, which replace guesses.

    The training multiplies a row's trust with `soft_weight`: together they are `weak_weight`, at
    most `soft_weight`.
    """
    if not policy.weak_weight or not soft_weight:
        return chosen
    known = [one for one in weak_truths(connection) if one.truth in classes]
    pool = _in_pool(connection, [one.sample_id for one in known])
    free = [one for one in known if one.sample_id in pool]  # a cap by others would not hold
    taken, left_out = capped(free, policy.repeats_share)
    rows = pd.DataFrame(
        [
            {
                "sample_id": one.sample_id, "label": one.truth,
                "trust": min(policy.weak_weight / soft_weight, 1.0), "source": SOURCE,
                "probs": json.dumps({name: float(name == one.truth) for name in classes}),
            }
            for one in taken
        ],
        columns=SOFT_COLUMNS,
    )  # fmt: skip
    if rows.empty:
        return chosen
    aside = f", {left_out} left out that repeat what was served" if left_out else ""
    why = f"{chosen.why}; {len(rows)} weak truths of served images{aside}"
    if chosen.rows is None:
        return SoftChoice(rows, why)
    others = chosen.rows[~chosen.rows["sample_id"].isin(rows["sample_id"])]
    return SoftChoice(pd.concat([others[SOFT_COLUMNS], rows], ignore_index=True), why)


def _in_pool(connection: Connection, sample_ids: Sequence[str]) -> set[str]:
    at = sample_states.c.sample_id
    return {
        name
        for keys in chunks(sample_ids)
        for name in connection.scalars(pool_ids().where(at.in_(keys)))
    }


def capped(truths: Sequence[WeakTruth], share: float) -> tuple[list[WeakTruth], int]:
    """The truths of which at most `share` of each day repeat what was served; how many are left.

    Of the repeating ones those come in whose sample id, a hash, is lowest: by chance.
    """
    by_day: dict[str, list[WeakTruth]] = defaultdict(list)
    for one in sorted(truths, key=lambda one: one.sample_id):
        by_day[one.day].append(one)
    taken: list[WeakTruth] = []
    for day in sorted(by_day):
        others = [one for one in by_day[day] if not one.repeats]
        repeating = [one for one in by_day[day] if one.repeats]
        most = len(repeating) if share >= 1 else int(share / (1 - share) * len(others) + 1e-9)
        taken += others + repeating[:most]
    return taken, len(truths) - len(taken)
