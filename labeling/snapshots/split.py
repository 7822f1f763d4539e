"""Which labelled samples are trained on, validated on and held back."""

import hashlib

import numpy as np
import pandas as pd
from pydantic import Field

from core.configuration import configuration


@configuration("snapshot")
class SnapshotConfig:
    """How the labelled samples that are not audited are divided."""

    val_share: float = Field(  # enough to stop training in time, little enough to miss in training
        default=0.15,
        ge=0,
        lt=1,
        description="share of the labelled samples that validation gets instead of training",
    )
    seed: int = Field(
        default=0,
        ge=0,
        description="of the split; the same seed leaves a sample where it is while others come",
    )


def split(table: pd.DataFrame, config: SnapshotConfig) -> pd.Series:
    """One of "train", "val", "test", "held" for each row of group_id, label, audit, gold.

    Audit samples are "test", their near-duplicates "held": neither is ever trained on. Gold is
    held, too, near-duplicates included: the model must not know what checks annotators. The rest is
    divided by label, near-duplicates together, and every class keeps a row to train on. The same
    rows are divided the same way in any order; new rows move few of the old ones.
    """
    parts = pd.Series("train", index=table.index, dtype=object)
    audited = table["audit"].astype(bool)
    apart = audited | table["gold"].astype(bool)
    held = table["group_id"].isin(table.loc[apart, "group_id"])
    chosen = _validation_groups(table[~held], config)
    parts[table["group_id"].isin(chosen)] = "val"
    parts[held] = "held"
    parts[audited] = "test"
    return parts


def _validation_groups(rows: pd.DataFrame, config: SnapshotConfig) -> set[str]:
    groups = _groups(rows, config.seed)
    quotas = _quotas(groups.groupby("label")["rows"].sum(), config.val_share)
    chosen: set[str] = set()
    for label, members in groups.groupby("label"):
        left = quotas[str(label)]
        for group, size in zip(members["group_id"], members["rows"], strict=True):
            if size <= left:
                chosen.add(group)
                left -= size
    return chosen - _needed_to_train(rows, groups, chosen)


def _groups(rows: pd.DataFrame, seed: int) -> pd.DataFrame:
    """Each group with its commonest label and its size, in an order that only the seed decides."""
    counts = rows.groupby(["group_id", "label"]).size().rename("rows").reset_index()
    common = counts.sort_values(["rows", "label"], ascending=[False, True])
    groups = common.drop_duplicates("group_id")[["group_id", "label"]]
    groups = groups.merge(rows.groupby("group_id").size().rename("rows").reset_index())
    groups["rank"] = [
        hashlib.sha256(f"{seed}:{group}".encode()).hexdigest() for group in groups["group_id"]
    ]
    return groups.sort_values("rank").reset_index(drop=True)


def _quotas(sizes: pd.Series, share: float) -> dict[str, int]:
    """Rows of each class to set aside: the share as whole numbers, by largest remainder.

    Never a whole class, so that it keeps a row to train on.
    """
    exact = sizes * share
    quotas = np.floor(exact).astype(int)
    spare = round(float(exact.sum())) - int(quotas.sum())
    by_remainder = sorted(sizes.index, key=lambda label: (quotas[label] - exact[label], label))
    quotas[by_remainder[:spare]] += 1
    return {str(label): min(int(quotas[label]), int(sizes[label]) - 1) for label in sizes.index}


def _needed_to_train(rows: pd.DataFrame, groups: pd.DataFrame, chosen: set[str]) -> set[str]:
    """Groups to give back, the last chosen first, so that no class is only in validation."""
    trained = set(rows.loc[~rows["group_id"].isin(chosen), "label"])
    order = {group: place for place, group in enumerate(groups["group_id"])}
    needed = set()
    for label in sorted(set(rows["label"]) - trained):
        needed.add(max(rows.loc[rows["label"] == label, "group_id"], key=order.__getitem__))
    return needed
