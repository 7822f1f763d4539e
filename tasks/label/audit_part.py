"""The part of a batch that is for the standing audit."""

import pandas as pd

from labeling.audit.asking import audit_to_ask, load_unasked
from labeling.batches.audit_share import audit_places, raise_audit_share
from labeling.batches.select import SelectionConfig
from labeling.ledger.audit_progress import load_audit_progress
from labeling.ledger.reasons import Origin
from tasks.context import Context


def choose_audit(
    ctx: Context, selection: SelectionConfig, pool_size: int, *, served_first: bool = False
) -> tuple[SelectionConfig, pd.DataFrame]:
    """The selection with the share that a verdict needs, and the audit rows of the batch.

    A batch that takes from the traffic, as one that answers drift, asks for a verdict on that, too.
    """
    needed = ctx.policies.gate.min_rows
    served_first = served_first or selection.served_share > 0
    with ctx.engine.connect() as connection:
        unasked = load_unasked(connection)
        parts = [load_audit_progress(connection, needed)]
        if served_first:
            parts.append(load_audit_progress(connection, needed, origin=Origin.SERVED))
    missing = max(one.missing_with_report(ctx.policies.audit.report_share) for one in parts)
    gate_missing = max(one.missing for one in parts)
    size = pool_size + len(unasked)
    selection = raise_audit_share(selection, missing=missing, pool_size=size)
    places = audit_places(selection, pool_size=pool_size, unasked=len(unasked))
    return selection, audit_to_ask(
        unasked, places, gate_missing=gate_missing, served_first=served_first
    )


def print_missing(ctx: Context, per_round: int) -> None:
    """Print how many audit labels a verdict still needs, if it needs any."""
    with ctx.engine.connect() as connection:
        progress = load_audit_progress(connection, ctx.policies.gate.min_rows)
    if not progress.verdict_possible:
        print(progress.sentence(per_round=per_round))
