"""Labels that deserve a second look: what the embeddings of all images say against them."""

import pandas as pd
from prefect import task

from core.database import writing
from core.locks import only_writer
from labeling.ledger import rounds
from labeling.ledger.reasons import Reason
from labeling.quality import label_errors
from models.registry import versions
from tasks.context import Context, open_context
from tasks.predictions import predict_with
from tasks.report.artifacts import progress


@task(timeout_seconds=6 * 3600)
def choose_review(round_id: str, size: int, seed: int) -> int:
    """Write down whose label is asked about again, worst first; return how many.

    Idempotent: a round that was chosen stays as it was chosen.
    """
    ctx = open_context()
    with only_writer(ctx.engine, "rounds") as token:
        with ctx.engine.connect() as connection:
            known = rounds.round_size(connection, round_id)
            labelled = rounds.load_labelled(connection)
        if known is not None:
            return known
        model = versions.champion(ctx.engine)
        if model is None:
            raise ValueError(
                "no model is in service yet, and a label is judged by what one sees in its image; "
                "`hone retrain` makes and releases one"
            )
        batch = _suspected(ctx, labelled, model, size=size, seed=seed)
        if batch.empty:
            print(f"none of {len(labelled)} labels looks wrong: nothing to review")
            return 0
        with writing(ctx.engine) as connection:
            rounds.open_round(
                connection,
                token,
                round_id,
                batch,
                strategy=Reason.REVIEW,
                config={"size": size},
                model=model,
                seed=seed,
                why="labels that look wrong",
            )
    print(f"{round_id}: {len(batch)} of {len(labelled)} labels deserve a second look")
    return len(batch)


def _suspected(
    ctx: Context, labelled: pd.DataFrame, model: str, *, size: int, seed: int
) -> pd.DataFrame:
    """The batch of a review: blind, so that nobody is told what to find."""
    show = progress("Looking at the labelled images")
    _, seen = predict_with(ctx, model, labelled, on_progress=show)
    show(1, 1)
    names = labelled["label"].tolist()
    probs = label_errors.out_of_fold_probs(
        seen.embeddings, names, labelled["group_id"].tolist(), seed=seed
    )
    found = label_errors.find_label_errors(labelled["sample_id"].tolist(), names, probs, limit=size)
    return found.assign(
        position=range(len(found)),
        reason=Reason.REVIEW,
        score=1 - found["trust"],
        pre_annotation=found["suggested"],
        confidence=found["trust"],
        pre_annotation_model=model,
        blind=True,
    )
