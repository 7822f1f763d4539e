"""The policies of one run: those of `hone.toml`, but for the ones that the run is given."""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from prefect import task
from prefect.runtime import flow_run

from core.configuration import values_of
from core.database import writing
from core.policy_log import PolicyChange, record_policy
from labeling.consensus.settle import SettlePolicy
from labeling.snapshots.split import SnapshotConfig
from models.judging.verdict import GatePolicy
from models.watching.signals import WatchPolicy
from tasks.context import Context, open_context
from tasks.policies import Policies, changed_fields
from tasks.policy_changes import record_policy_changes


@task
def choose_policies(
    settling: SettlePolicy | None = None,
    snapshot: SnapshotConfig | None = None,
    gate: GatePolicy | None = None,
    watch: WatchPolicy | None = None,
) -> Policies:
    """The policies of this run: those of `hone.toml`, but for the ones given, which are recorded.

    Idempotent: a change is recorded once, and so is what one run overrides.
    """
    ctx = open_context()
    record_policy_changes(ctx)
    given = {"settling": settling, "snapshot": snapshot, "gate": gate, "watch": watch}
    overrides: Mapping[str, Any] = {
        section: policy for section, policy in given.items() if policy is not None
    }
    for section, policy in overrides.items():
        _record_override(ctx, section, policy)
    return replace(ctx.policies, **overrides)


def _record_override(ctx: Context, section: str, policy: Any) -> None:
    own = getattr(ctx.policies, section)
    if policy == own:
        return
    effect = f"for this run only: {changed_fields(own, policy)}"
    run = f"{flow_run.name} {flow_run.id}" if flow_run.id else "without a flow run"
    with writing(ctx.engine) as connection:
        record_policy(
            connection, PolicyChange(section, values_of(own), values_of(policy), effect, run=run)
        )
    print(f"{section}, {effect} (from hone.toml to this run's parameter)")
