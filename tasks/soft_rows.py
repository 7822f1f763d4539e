"""Rows of the unlabelled pool that a snapshot brings to the training: which may, and their form."""

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
from sqlalchemy import Connection

from labeling.ledger import duels
from labeling.ledger.rounds import load_pool
from labeling.ledger.samples import groups_of
from labeling.snapshots.table import SOFT_COLUMNS
from models.kinds import Kind

DIGITS = 5  # of a stored probability: the same outputs make the same bytes


@dataclass(frozen=True)
class SoftChoice:
    """The soft rows that go into the next snapshot, None for none, and why."""

    rows: pd.DataFrame | None
    why: str


def free_pool(connection: Connection, most: int | None = None) -> pd.DataFrame:
    """The pool, at most so many of it, without what resembles a sample of an open duel.

    Nothing of it resembles an audit sample, and `build_table` leaves out what resembles gold or a
    validation sample.
    """
    pool = load_pool(connection, most)
    duel = duels.open_duel(connection)
    if duel is None:
        return pool
    drawn = duels.load_duel_samples(connection, duel.duel_id)["sample_id"].tolist()
    return pool[~pool["group_id"].isin(set(groups_of(connection, drawn).values()))]


def may_be_learnt(sample_id: str) -> bool:
    """Whether the sample is of the half of the pool that is trained on without a label.

    The same half for every model: a duel asks about samples that neither model was trained on, and
    finds them in the other one.
    """
    return hashlib.sha256(f"half:{sample_id}".encode()).digest()[0] % 2 == 0


def soft_rows(
    sample_ids: Sequence[str],
    outputs: np.ndarray,
    classes: Sequence[str],
    kind: Kind,
    *,
    source: str,
    trust: float | np.ndarray = 1.0,
) -> pd.DataFrame:
    """A soft row for each sample: likeliest class, and the probability of every class."""
    probs = np.round(kind.probabilities(outputs, classes).astype(float), DIGITS)
    rows = [json.dumps(dict(zip(classes, row, strict=True))) for row in probs.tolist()]
    labels = [answer.label for answer in kind.answers(outputs, classes)]
    table = pd.DataFrame(
        {
            "sample_id": list(sample_ids),
            "label": labels,
            "trust": np.round(trust, DIGITS),
            "source": source,
            "probs": rows,
        }
    )
    return table[SOFT_COLUMNS]
