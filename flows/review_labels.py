"""Put the labels that look wrong before annotators a second time."""

from typing import Literal

from prefect import flow

from tasks.label.choose import publish_batch, resume_round, send_batch
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
) -> str | None:
    """Ask again about the labels that the images contradict most; return the round's id.

    What comes back is one more answer to each: a label that changes keeps its history. A round
    that was chosen and not wholly sent is finished first.
    """
    begun = resume_round(None, annotators)
    round_id = choose_review(begun, size, seed)
    if round_id is not None:
        send_batch(round_id, annotators)
        publish_batch(round_id)
    return round_id
