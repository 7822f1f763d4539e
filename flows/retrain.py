"""Snapshot to challenger, to verdict, to release; and what more labels would bring."""

from typing import Literal

from prefect import flow

from labeling.budget.learning_curve import BudgetPolicy
from labeling.consensus.settle import SettlePolicy
from models.judging.verdict import GatePolicy
from models.network.network import NetworkConfig
from models.training.config import TrainConfig
from tasks.collect.duels import play_duel
from tasks.report.publish import publish_budget
from tasks.retrain.judge import judge
from tasks.retrain.release import package_release, release_winner
from tasks.retrain.train import choose_snapshot, train_challenger
from tasks.run_names import retrain_name
from tasks.run_policies import choose_policies
from tasks.run_process import record_process
from tasks.waiting_runs import cancel_covered_runs


@flow(
    name="retrain",
    flow_run_name=retrain_name,
    on_running=[record_process, cancel_covered_runs],
    log_prints=True,
)
def retrain(
    snapshot: str | None = None,
    network: NetworkConfig = NetworkConfig(),  # noqa: B008 - frozen
    train: TrainConfig = TrainConfig(),  # noqa: B008 - frozen
    gate: GatePolicy | None = None,
    approval: Literal["verdict", "person"] = "verdict",
    budget: BudgetPolicy = BudgetPolicy(),  # noqa: B008 - frozen
    annotators: Literal["label-studio", "simulated"] = "label-studio",
    settling: SettlePolicy | None = None,
) -> str | None:
    """Train on a snapshot (the newest by default); return the version that went into service.

    With `approval="person"` a promoted challenger waits for `hone release`. Where a duel decides
    and people answer, it goes on in `collect_labels`. The policies are those of `hone.toml` unless
    this run is given its own.
    """
    policies = choose_policies(gate=gate, settling=settling)
    chosen = choose_snapshot(snapshot)
    if chosen is None:
        return None
    challenger = train_challenger(chosen, network, train)
    verdict_id = judge(challenger, chosen, policies.gate, approval, annotators)
    if verdict_id is None:
        verdict_id = play_duel(annotators, policies.settling)
    version = None
    if verdict_id is None:
        print(f"{challenger} waits for answers: `hone collect` goes on, `hone status` says how far")
    elif approval == "person":
        print(f"waiting for a person: hone release {challenger} --who NAME --why REASON")
    elif (version := release_winner(verdict_id)) is not None:
        package_release(version)
    publish_budget(budget)
    return version
