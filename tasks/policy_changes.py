"""Changes of a workspace's policies, and policies of one run only: recorded, with what they do."""

from collections.abc import Mapping
from dataclasses import asdict, fields, replace
from typing import Any

from prefect import task
from prefect.runtime import flow_run

from core.configuration import CONFIGURATIONS, fields_of
from core.database import writing
from core.policy_log import PolicyChange, last_policy, record_policy
from labeling.consensus.preview import preview_settling
from labeling.consensus.settle import SettlePolicy
from labeling.snapshots.split import SnapshotConfig
from models.judging.verdict import GatePolicy
from models.watching.signals import WatchPolicy
from tasks.context import Context, open_context
from tasks.policies import Policies, changed_fields


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


def record_policy_changes(ctx: Context) -> None:
    """Record each section of `hone.toml` that differs from what was recorded, and print what for.

    The first time the defaults are what it is compared with.
    """
    for field in fields(Policies):
        with ctx.engine.connect() as connection:
            recorded = last_policy(connection, field.name)
        policy = getattr(ctx.policies, field.name)
        if recorded == asdict(policy):
            continue
        old = _restore(field.name, recorded or {})
        effect = _effect(ctx, field.name, old, policy) if old != policy else ""
        change = PolicyChange(field.name, recorded, asdict(policy), effect)
        with writing(ctx.engine) as connection:
            new = record_policy(connection, change)
        if new and effect:
            print(f"hone.toml changed: {field.name}: {changed_fields(old, policy)}; {effect}")


def _record_override(ctx: Context, section: str, policy: Any) -> None:
    own = getattr(ctx.policies, section)
    if policy == own:
        return
    effect = f"for this run only: {changed_fields(own, policy)}"
    run = f"{flow_run.name} {flow_run.id}" if flow_run.id else "without a flow run"
    with writing(ctx.engine) as connection:
        record_policy(
            connection, PolicyChange(section, asdict(own), asdict(policy), effect, run=run)
        )
    print(f"{section}, {effect} (from hone.toml to this run's parameter)")


def _restore(section: str, values: Mapping[str, Any]) -> Any:
    """The policy that was recorded; a field that is gone since is left out."""
    known = fields_of(section)
    return CONFIGURATIONS[section](
        **{name: value for name, value in values.items() if name in known}
    )


def _effect(ctx: Context, section: str, old: Any, new: Any) -> str:
    """What the change does to what is there, in words."""
    if section == "settling":
        labels = preview_settling(ctx.engine, old, new, ctx.workspace.class_names)
        return (
            f"the answers that are there settle {labels.settled} more labels, change "
            f"{labels.changed} and withdraw {labels.withdrawn}"
        )
    if section == "snapshot":
        from labeling.snapshots.table import count_moved

        return f"the next snapshot has {count_moved(ctx.engine, old, new)} samples in another split"
    if section == "gate":
        return "the next verdict is judged by it, those before stand"
    return "the next check of traffic goes by it, decisions before stand"
