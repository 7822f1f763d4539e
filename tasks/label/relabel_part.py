"""The part of a batch that asks again about labels."""

import numpy as np
import pandas as pd

from labeling.batches.batch import Batch
from labeling.batches.checks import validate_predictions
from labeling.batches.relabel import relabel_candidates
from labeling.batches.select import SelectionConfig, share_of
from labeling.ledger import rounds
from labeling.ledger.reasons import AnswerKind, Reason
from labeling.ledger.settlement import load_ledger_state
from labeling.strategies.pool import Pool
from tasks.context import Context


def relabel_part(
    ctx: Context,
    candidates: pd.DataFrame,
    predictions: Pool,
    labelled: pd.DataFrame,
    selection: SelectionConfig,
    rng: np.random.Generator,
) -> Batch:
    """Labels that take places of this batch: one more answer teaches more than a new sample.

    The audit, the named and quotas keep their places, and one stays for new samples.
    """
    spare = selection.size - max(selection.promised, 1)
    limit = min(share_of(selection.size, selection.relabel_share), spare)
    if limit == 0 or predictions.embeddings is None or predictions.labelled is None:
        return Batch.of([], reason=str(Reason.RELABEL))
    validate_predictions(candidates, predictions)  # before a head is fitted to it
    with ctx.engine.connect() as connection:
        may_be_asked = rounds.load_labelled(connection)["sample_id"]
        answers = load_ledger_state(connection).answers
    rows = (labelled["label"].notna() & labelled["sample_id"].isin(may_be_asked)).to_numpy()
    return relabel_candidates(
        predictions.embeddings,
        predictions.labelled[rows],
        labelled[rows].reset_index(drop=True),
        answers[answers["kind"] != AnswerKind.SKIP],
        size=selection.size,
        limit=limit,
        seed=int(rng.integers(2**31)),
    )
