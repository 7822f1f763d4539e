"""Labels that deserve a second look, because the embeddings of all images speak against them."""

import pandas as pd
from prefect import task

from core.database import writing
from core.locks import only_writer
from labeling.batches.batch import Batch
from labeling.ledger import rounds
from labeling.ledger.reasons import Reason
from labeling.quality import label_errors
from models.registry import releases
from tasks.context import Context, open_context
from tasks.predictions import predict_with
from tasks.report.artifacts import progress
from tasks.run_names import deployed_run


@task(timeout_seconds=6 * 3600)
def choose_review(round_id: str | None, size: int, seed: int) -> str | None:
    """Record which labels are asked about again, the least trusted first; return their round.

    None when no label looks wrong. Idempotent: a round that was chosen stays as it was chosen.
    """
    ctx = open_context()
    with only_writer(ctx.engine, "rounds") as token:
        with ctx.engine.connect() as connection:
            round_id = round_id or rounds.new_round(connection)
            labelled = rounds.load_labelled(connection)
            if rounds.round_size(connection, round_id) is not None:
                return round_id
        model = releases.champion(ctx.engine)
        if model is None:
            raise ValueError(
                "no model is in service yet, and labels are judged by a model's embeddings; "
                "`hone retrain` makes and releases one"
            )
        batch = _review_batch(ctx, labelled, model, size=size, seed=seed)
        if not len(batch):
            print(f"none of {len(labelled)} labels looks wrong: nothing to review")
            return None
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
                run=deployed_run(),
            )
    print(f"{round_id}: {len(batch)} of {len(labelled)} labels deserve a second look")
    return round_id


def _review_batch(
    ctx: Context, labelled: pd.DataFrame, model: str, *, size: int, seed: int
) -> Batch:
    """The labels that look wrong as a batch, blind: nothing leads the annotator."""
    show = progress("Predicting the labelled images")
    _, predictions = predict_with(ctx, model, labelled, on_progress=show)
    show(1, 1)
    names = labelled["label"].tolist()
    probs = label_errors.out_of_fold_probs(
        predictions.embeddings, names, labelled["group_id"].tolist(), seed=seed
    )
    errors = label_errors.find_label_errors(
        labelled["sample_id"].tolist(), names, probs, limit=size
    )
    return Batch.of(
        errors["sample_id"].tolist(),
        reason=str(Reason.REVIEW),
        score=(1 - errors["trust"]).to_numpy(),
        pre_annotation=errors["suggested"].to_numpy(),
        confidence=errors["trust"].to_numpy(),
        pre_annotation_model=model,
        blind=True,
    )
