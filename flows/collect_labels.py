"""Fetch answers, settle labels, cut a snapshot, wake the training."""

from typing import Literal

from prefect import flow

from labeling.consensus import SettlePolicy
from labeling.snapshot import SnapshotConfig
from tasks.collecting import (
    announce_snapshot,
    fetch_answers,
    freeze_labels,
    publish_quality,
    settle_answers,
)


@flow(name="collect-labels", flow_run_name="collect-from-{annotators}", log_prints=True)
def collect_labels(
    annotators: Literal["label-studio", "simulated"] = "label-studio",
    settling: SettlePolicy = SettlePolicy(),  # noqa: B008 - frozen
    snapshot: SnapshotConfig = SnapshotConfig(),  # noqa: B008 - frozen
    every: int = 50,
) -> str | None:
    """Turn what annotators answered into labels; return the snapshot that was cut, if one was."""
    fetch_answers(annotators, settling)
    settle_answers(settling)
    name = freeze_labels(snapshot, every)
    announce_snapshot()
    publish_quality()
    return name
