"""Which audit samples a round asks about: those that nobody was asked about, by their number."""

import pandas as pd
from sqlalchemy import Connection, select

from labeling.audit.numbers import Part
from labeling.batches.batch import Batch
from labeling.ledger.reasons import Origin, Reason, SampleState
from labeling.ledger.rounds import IMAGE_COLUMNS
from labeling.ledger.tables import audit, sample_states, samples


def load_unasked(connection: Connection) -> pd.DataFrame:
    """The audit samples to ask about, in the order of their numbers, one of each group.

    Columns: IMAGE_COLUMNS, number, part and inclusion_probability. A sample whose task was deleted
    is among them again, a skipped one is not.
    """
    is_unasked = sample_states.c.is_audit & (sample_states.c.state == SampleState.HELD)
    other = sample_states.alias()
    asked = select(other.c.group_id).where(other.c.is_audit, other.c.state != SampleState.HELD)
    query = (
        select(*samples.c[IMAGE_COLUMNS], *audit.c["number", "part", "inclusion_probability"])
        .join(samples, samples.c.sample_id == audit.c.sample_id)
        .join(sample_states, sample_states.c.sample_id == audit.c.sample_id)
        .where(is_unasked, audit.c.number.is_not(None), samples.c.group_id.not_in(asked))
        .order_by(audit.c.number, audit.c.sample_id)
    )
    unasked = pd.read_sql(query, connection)
    return unasked[~unasked["group_id"].duplicated()].reset_index(drop=True)


def audit_to_ask(
    unasked: pd.DataFrame, places: int, *, gate_missing: int = 0, served_first: bool = False
) -> pd.DataFrame:
    """The rows of `unasked` for that many places, in the order to ask.

    As many of the gate's part as a verdict still misses come first, then the rest by number. What
    was drawn for which part does not depend on the images, so neither part is less random for it.
    An answer to drift asks about served samples first.
    """
    is_gate = unasked["part"] == Part.GATE
    is_served = unasked["origin"] == Origin.SERVED
    ordered = unasked.assign(
        is_later=~is_served if served_first else False, is_gate=is_gate
    ).sort_values(["is_later", "number", "sample_id"])
    is_missed = ordered["is_gate"] & (ordered["is_gate"].cumsum() <= gate_missing)
    by_turn = pd.concat([ordered[is_missed], ordered[~is_missed]])
    return by_turn.head(places)[list(unasked.columns)].reset_index(drop=True)


def audit_batch(rows: pd.DataFrame) -> Batch:
    """These audit rows as the beginning of a batch."""
    return Batch.of(
        rows["sample_id"].tolist(),
        reason=str(Reason.AUDIT),
        inclusion_probability=rows["inclusion_probability"].tolist(),
    )
