"""Fetch answers, settle labels, ask again, advance the duel, cut a snapshot, wake the training."""

from typing import Literal

from prefect import flow

from labeling.consensus.settle import SettlePolicy
from labeling.snapshots.publish import SnapshotConfig
from tasks.collect.duels import advance_duel, judge_waiting
from tasks.collect.fetch import fetch_answers
from tasks.collect.freeze import announce_snapshot, freeze_labels
from tasks.collect.return_labels import return_labels
from tasks.collect.settle import ask_more_annotators, settle_answers
from tasks.report.publish import publish_annotators
from tasks.run_policies import choose_policies
from tasks.run_process import record_process
from tasks.waiting_runs import cancel_covered_runs


@flow(
    name="collect-labels",
    flow_run_name="collect-from-{annotators}",
    on_running=[record_process, cancel_covered_runs],
    log_prints=True,
)
def collect_labels(
    annotators: Literal["label-studio", "simulated"] = "label-studio",
    settling: SettlePolicy | None = None,
    snapshot: SnapshotConfig | None = None,
    every: int = 50,
) -> str | None:
    """Turn what annotators answered into labels; return the snapshot that was cut, if one was.

    `settling` and `snapshot` are those of `hone.toml` unless this run is given its own.
    """
    policies = choose_policies(settling=settling, snapshot=snapshot)
    fetch_answers(annotators, policies.settling)
    settle_answers(policies.settling)
    return_labels()
    ask_more_annotators(annotators)
    advance_duel(annotators)
    judge_waiting(annotators)
    name = freeze_labels(policies.snapshot, policies.train, every)
    announce_snapshot()
    publish_annotators(policies.settling)
    return name
