"""Changes of a workspace's policies: recorded, with what they do."""

from collections.abc import Mapping
from dataclasses import fields
from typing import Any

from core.configuration import fields_of, values_of
from core.database import writing
from core.policy_log import PolicyChange, last_policy, record_policy
from labeling.consensus.preview import preview_settling
from labeling.kinds import KINDS
from tasks.context import Context
from tasks.policies import POLICY_CLASSES, Policies, changed_fields


def record_policy_changes(ctx: Context) -> None:
    """Record each section of `hone.toml` that differs from what was recorded, and print what for.

    The first time the defaults are what it is compared with.
    """
    for field in fields(Policies):
        with ctx.engine.connect() as connection:
            recorded = last_policy(connection, field.name)
        policy = getattr(ctx.policies, field.name)
        if recorded == values_of(policy):
            continue
        old = _restore(field.name, recorded or {})
        effect = _effect(ctx, field.name, old, policy) if old != policy else ""
        change = PolicyChange(field.name, recorded, values_of(policy), effect)
        with writing(ctx.engine) as connection:
            new = record_policy(connection, change)
        if new and effect:
            print(f"hone.toml changed: {field.name}: {changed_fields(old, policy)}; {effect}")


def _restore(section: str, values: Mapping[str, Any]) -> Any:
    """The policy that was recorded; a field that is gone since is left out."""
    policy = POLICY_CLASSES[section]
    known = fields_of(policy)
    return policy(**{name: value for name, value in values.items() if name in known})


def _effect(ctx: Context, section: str, old: Any, new: Any) -> str:
    """What the change does to what is there, in words."""
    if section == "settling":
        kind = KINDS[ctx.workspace.kind]
        labels = preview_settling(ctx.engine, old, new, ctx.workspace.class_names, kind)
        return (
            f"the answers that are there settle {labels.settled} more labels, change "
            f"{labels.changed} and withdraw {labels.withdrawn}"
        )
    if section == "snapshot":
        from labeling.snapshots.table import count_moved

        return f"the next snapshot has {count_moved(ctx.engine, old, new)} samples in another split"
    if section == "audit":
        return "groups are drawn with it from now on; what was drawn before stays drawn"
    if section == "train":
        return "the next snapshot goes by it, those before stay as they are"
    if section == "gate":
        return "the next verdict is judged by it, those before stand"
    if section == "review":
        return "the next batch goes by it"
    if section == "release":
        return "the next promoted version and the next check of a trial go by it"
    if section == "retention":
        return "the next check deletes by it, also what was served before"
    return "the next check of traffic goes by it, decisions before stand"
