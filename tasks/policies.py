"""The policies of a workspace: what decides what a label, a split, a verdict and an alarm is."""

import json
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field, fields
from typing import Any

from core.configuration import fields_of
from core.errors import HoneError
from core.hone_toml import POLICIES
from core.workspace import Workspace
from labeling.audit.numbers import AuditPolicy
from labeling.batches.referred import ReviewPolicy
from labeling.consensus.settle import SettlePolicy
from labeling.quality.student import TrainPolicy
from labeling.snapshots.split import SnapshotConfig
from models.judging.verdict import GatePolicy
from models.rollout.policy import ReleasePolicy
from models.serving.retention import RetentionPolicy
from models.watching.signals import WatchPolicy


@dataclass(frozen=True)
class Policies:
    """The sections of `hone.toml` that decide, one field each."""

    settling: SettlePolicy = field(default_factory=SettlePolicy)
    snapshot: SnapshotConfig = field(default_factory=SnapshotConfig)
    train: TrainPolicy = field(default_factory=TrainPolicy)
    audit: AuditPolicy = field(default_factory=AuditPolicy)
    gate: GatePolicy = field(default_factory=GatePolicy)
    release: ReleasePolicy = field(default_factory=ReleasePolicy)
    watch: WatchPolicy = field(default_factory=WatchPolicy)
    review: ReviewPolicy = field(default_factory=ReviewPolicy)
    retention: RetentionPolicy = field(default_factory=RetentionPolicy)


POLICY_CLASSES: dict[str, Any] = {
    known.name: type(getattr(Policies(), known.name)) for known in fields(Policies)
}


def load_policies(workspace: Workspace) -> Policies:
    """The policies that `hone.toml` has, defaults where it says nothing."""
    sections = {field.name: _read(field.name, workspace) for field in fields(Policies)}
    return Policies(**sections)


def policies_toml(policies: Policies | None = None) -> str:
    """The sections of a new `hone.toml`: each field with its help, a default after a #."""
    policies = policies or Policies()
    lines = [line for name in POLICIES for line in _section_lines(name, getattr(policies, name))]
    return "\n".join(lines).lstrip() + "\n"


def changed_fields(old: Any, new: Any) -> str:
    """What differs between two policies of a kind, such as "answers_needed 1 -> 2"."""
    before, after = asdict(old), asdict(new)
    return ", ".join(
        f"{name} {before[name]} -> {after[name]}" for name in after if before[name] != after[name]
    )


def _read(section: str, workspace: Workspace) -> Any:
    try:
        return POLICY_CLASSES[section](**workspace.policies.get(section, {}))
    except HoneError as error:
        raise HoneError(f"{workspace.root / 'hone.toml'}: {error}") from error


def _section_lines(section: str, policy: Any) -> Iterator[str]:
    yield f"\n[{section}]  # {(type(policy).__doc__ or '').splitlines()[0]}"
    for name, known in fields_of(type(policy)).items():
        value = getattr(policy, name)
        mark = "# " if value == known.default else ""
        yield f"{mark}{name} = {json.dumps(value)}  # {known.description}"
