"""The part of a batch that is for the standing audit."""

import pandas as pd

from labeling.audit.asking import audit_to_ask, load_unasked
from labeling.batches.audit_share import audit_places, raise_audit_share
from labeling.batches.select import SelectionConfig
from labeling.ledger.audit_progress import load_audit_progress
from tasks.context import Context


def choose_audit(
    ctx: Context, selection: SelectionConfig, pool_size: int
) -> tuple[SelectionConfig, pd.DataFrame]:
    """The selection with the share that a verdict needs, and the audit rows of the batch."""
    with ctx.engine.connect() as connection:
        unasked = load_unasked(connection)
        progress = load_audit_progress(connection, ctx.policies.gate.min_rows)
    missing = progress.missing_with_report(ctx.policies.audit.report_share)
    size = pool_size + len(unasked)
    selection = raise_audit_share(selection, missing=missing, pool_size=size)
    places = audit_places(selection, pool_size=pool_size, unasked=len(unasked))
    served_first = selection.served_share > 0
    return selection, audit_to_ask(
        unasked, places, gate_missing=progress.missing, served_first=served_first
    )


def print_missing(ctx: Context, per_round: int) -> None:
    """Print how many audit labels a verdict still needs, if it needs any."""
    with ctx.engine.connect() as connection:
        progress = load_audit_progress(connection, ctx.policies.gate.min_rows)
    if not progress.verdict_possible:
        print(progress.sentence(per_round=per_round))
