"""Snapshot to challenger, to verdict, to release; and what more labels would bring."""

from typing import Literal

from prefect import flow

from labeling.budget import BudgetPolicy
from models.evaluate import GatePolicy
from models.network import NetworkConfig
from models.train import TrainConfig
from tasks.budgeting import publish_budget
from tasks.names import retrain_name
from tasks.releasing import judge, package_release, release_winner
from tasks.training import newest_snapshot, train_challenger


@flow(name="retrain", flow_run_name=retrain_name, log_prints=True)
def retrain(
    snapshot: str | None = None,
    network: NetworkConfig = NetworkConfig(),  # noqa: B008 - frozen
    train: TrainConfig = TrainConfig(),  # noqa: B008 - frozen
    gate: GatePolicy = GatePolicy(),  # noqa: B008 - frozen
    approval: Literal["verdict", "person"] = "verdict",
    budget: BudgetPolicy = BudgetPolicy(),  # noqa: B008 - frozen
) -> str | None:
    """Train on a snapshot (the newest by default); return the version that went into service.

    With `approval="person"` a promoted challenger waits for `hone release`.
    """
    snapshot = newest_snapshot(snapshot)
    challenger = train_challenger(snapshot, network, train)
    verdict_id = judge(challenger, snapshot, gate)
    version = None
    if approval == "person":
        print(f"waiting for a person: hone release {challenger} --who NAME --why REASON")
    elif (version := release_winner(verdict_id)) is not None:
        package_release(version)
    publish_budget(budget)
    return version
