"""Choose the next batch and send it to the annotators."""

from typing import Literal

from prefect import flow

from labeling.batches.quality_control import QualityControlConfig
from labeling.batches.select import SelectionConfig
from tasks.label.choose import choose_batch, publish_batch, resume_round, send_batch
from tasks.run_names import label_name
from tasks.run_process import record_process
from tasks.waiting_runs import cancel_covered_runs


@flow(
    name="label-round",
    flow_run_name=label_name,
    on_running=[record_process, cancel_covered_runs],
    log_prints=True,
)
def label_round(
    round_id: str | None = None,
    selection: SelectionConfig = SelectionConfig(),  # noqa: B008 - frozen
    queue: QualityControlConfig = QualityControlConfig(),  # noqa: B008 - frozen
    seed: int = 0,
    queue_limit: int = 500,
    annotators: Literal["label-studio", "simulated"] = "label-studio",
) -> str | None:
    """Put the next batch before the annotators; return the round's id.

    A round that was chosen and not wholly sent is finished first. Collecting the answers is the
    job of `collect_labels`.
    """
    begun = resume_round(round_id, annotators)
    round_id = choose_batch(begun, selection, queue, seed, queue_limit)
    if round_id is not None:
        send_batch(round_id, annotators)
        publish_batch(round_id)
    return round_id
