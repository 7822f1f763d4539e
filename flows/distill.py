"""The champion teaches a small network on the unlabelled pool; the student is judged like any."""

from typing import Literal

from prefect import flow

from labeling.snapshots.publish import SnapshotConfig
from models.judging.verdict import GatePolicy
from models.network.network import NetworkConfig
from models.training.config import TrainConfig
from tasks.collect.duels import play_duel
from tasks.retrain.distill import freeze_soft_targets
from tasks.retrain.judge import judge
from tasks.retrain.train import train_challenger
from tasks.run_names import distill_name
from tasks.run_policies import choose_policies
from tasks.run_process import record_process
from tasks.waiting_runs import cancel_covered_runs


@flow(
    name="distill",
    flow_run_name=distill_name,
    on_running=[record_process, cancel_covered_runs],
    log_prints=True,
)
def distill(
    network: NetworkConfig = NetworkConfig(backbone="mobilenet_v3_small"),  # noqa: B008 - frozen
    train: TrainConfig = TrainConfig(  # noqa: B008 - frozen
        soft_weight=0.9, fine_tune="full"
    ),
    most: int = 20_000,
    front_only: bool = False,
    snapshot: SnapshotConfig | None = None,
    gate: GatePolicy | None = None,
    annotators: Literal["label-studio", "simulated"] = "label-studio",
) -> str:
    """Train a student on the champion's outputs and the labels; return its version.

    It is judged by the gate like any challenger, and waits for a person. With `front_only` there is
    no verdict, which spends nothing of the gate's error: a model in front of a cascade needs none.
    """
    policies = choose_policies(gate=gate, snapshot=snapshot)
    frozen = freeze_soft_targets(policies.snapshot, most)
    student = train_challenger(frozen, network, train)
    if not front_only:
        verdict_id = judge(student, frozen, policies.gate, "person", annotators)
        if verdict_id is None:
            verdict_id = play_duel(annotators, policies.settling)
        if verdict_id is None:
            print(
                f"{student} waits for answers: `hone collect` goes on, `hone status` says how far"
            )
    print(f"as a front model: hone cascade plan --front {student}")
    return student
