"""Checks that a labelled table can be trained on."""

import pandas as pd


def missing_for_training(table: pd.DataFrame) -> str | None:
    """The reason why the table cannot be trained on, in one sentence; None when it can."""
    return missing_rows(table) or _missing_classes(table)


def missing_rows(table: pd.DataFrame) -> str | None:
    """The reason why no row can be trained on, in one sentence; None when one can."""
    if (table["split"] == "train").any():
        return None
    splits = ", ".join(sorted(set(table["split"]))) or "none"
    return (
        f"none of the {len(table)} rows is in split 'train' (splits: {splits}), for audit samples "
        "and gold are never trained on; label more samples and cut a new snapshot"
    )


def _missing_classes(table: pd.DataFrame) -> str | None:
    labels = table.loc[table["split"] == "train", "label"]
    if labels.nunique() > 1:
        return None
    return (
        f"all {len(labels)} rows in split 'train' have the label {labels.iloc[0]!r}, and two "
        "classes are needed; label samples of another class and cut a new snapshot"
    )
