"""The part of a batch that answers a drift: what moved most, and a random part of its window."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from sqlalchemy import Connection

from labeling.batches.select import SelectionConfig, share_of
from labeling.ledger.reasons import Reason
from models.serving.traffic_window import drawn_samples, new_traffic, samples_of
from models.watching import decisions, incidents
from models.watching.decisions import DecisionRecord
from tasks.context import Context

DRIFT_SHARE = 0.8  # of the batch: most of it from the traffic that drifted
EXEMPLAR_SHARE = 0.5  # of that, at most; the rest is random, or it would teach the extremes alone
DRAWN = 2_000  # of the window, from which the random part is taken


@dataclass(frozen=True)
class DriftPart:
    """The decision that a round answers, and the samples that it asks about for that."""

    decision: DecisionRecord
    wanted: dict[str, str]  # reason by sample, those that moved most first

    def rest(self, selection: SelectionConfig) -> SelectionConfig:
        """The selection of the other places: served images in place of those not taken in yet."""
        missing = share_of(selection.size, DRIFT_SHARE) - len(self.wanted)
        share = max(missing, 0) / selection.size
        return replace(selection, served_share=max(selection.served_share, share))


def drift_part(
    ctx: Context, pool: set[str], selection: SelectionConfig, rng: np.random.Generator
) -> DriftPart | None:
    """What a round asks about to answer the drift that no round answers yet; None without one.

    Only samples of the pool: what was served becomes a sample when it is ingested.
    """
    decision = decisions.unanswered_drift(ctx.engine)
    if decision is None:
        return None
    places = share_of(selection.size, DRIFT_SHARE)
    with ctx.engine.connect() as connection:
        moved = samples_of(connection, decision.exemplars or ())
        traffic = new_traffic(connection, decision.model, decision.first_seq - 1, decision.last_seq)
        drawn = drawn_samples(connection, traffic, DRAWN, rng)
    moved = [name for name in moved if name in pool][: share_of(places, EXEMPLAR_SHARE)]
    drawn = [name for name in drawn if name in pool and name not in moved]
    wanted = dict.fromkeys(moved, str(Reason.DRIFT))
    wanted |= dict.fromkeys(drawn[: places - len(moved)], str(Reason.DRIFTED))
    return DriftPart(decision, wanted)


def places_beside(part: DriftPart | None, selection: SelectionConfig) -> int:
    """How many places the samples that come first may take: none of those of an open drift."""
    return selection.size - (share_of(selection.size, DRIFT_SHARE) if part else 0)


def record_answer(
    connection: Connection, part: DriftPart, round_id: str, asked: Sequence[str]
) -> None:
    """Record, in the transaction that opens the round, that it answers the drift, and by what."""
    decision = part.decision
    decisions.answer_decision(connection, decision.decision_id, round_id)
    if decision.incident_id is not None:
        detail = {"round": round_id, "decision": decision.decision_id}
        detail |= {"images": str(len(part.wanted.keys() & set(asked)))}
        incidents.add_event(connection, decision.incident_id, "round", incidents.LOOP, detail)
