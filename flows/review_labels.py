"""Put the labels that look wrong before annotators a second time."""

from typing import Literal

from prefect import flow

from tasks.label.choose import name_round, publish_batch, send_batch
from tasks.label.review import choose_review
from tasks.run_names import review_name
from tasks.run_process import record_process
from tasks.waiting_runs import cancel_covered_runs


@flow(
    name="review-labels",
    flow_run_name=review_name,
    on_running=[record_process, cancel_covered_runs],
    log_prints=True,
)
def review_labels(
    size: int = 20,
    seed: int = 0,
    annotators: Literal["label-studio", "simulated"] = "label-studio",
) -> str:
    """Ask again about the labels that the images contradict most; return the round's id.

    What comes back is one more answer to each: a label that changes keeps its history. A round
    that was chosen and not wholly sent is finished first.
    """
    round_id = name_round(None, annotators)
    if choose_review(round_id, size, seed):
        send_batch(round_id, annotators)
        publish_batch(round_id)
    return round_id
