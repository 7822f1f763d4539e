"""A verdict made anew from what is on record: nothing is scored again."""

import json
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from models.judging.criterion import criterion_of
from models.judging.duel_record import DuelRecord
from models.judging.gate import conclude
from models.judging.verdict import Verdict
from models.registry.model_card import json_value

if TYPE_CHECKING:
    import pandas as pd

REMADE = ("outcome", "reasons", "metrics")  # the columns of a verdict that follow from the others


def verdict_again(row: Mapping[str, Any]) -> Verdict:
    """The verdict that follows from the criteria in a row of `verdicts`."""
    metrics = {name: value for name, value in row["metrics"].items() if name != "criteria"}
    if "criteria" not in row["metrics"]:
        raise ValueError(
            f"{row['verdict_id']} is from an older version of Hone, which recorded no criteria: it "
            "cannot be recomputed; `hone retrain` judges anew"
        )
    criteria = tuple(criterion_of(one) for one in row["metrics"]["criteria"])
    return conclude(criteria, metrics)


def duel_again(
    row: Mapping[str, Any], duel_id: str, plan: Mapping[str, Any], samples: "pd.DataFrame"
) -> Verdict:
    """The verdict that follows from a duel: from stored outputs and answers, not from the counts.

    Only why a duel was stopped is taken from the verdict: that is no result of it.
    """
    record = DuelRecord.from_json(plan)
    stopped = row["metrics"].get("duel", {}).get("stopped")
    return record.verdict(duel_id, samples, stopped=stopped)


def canonical(row: Mapping[str, Any]) -> bytes:
    """What a verdict says, in bytes that are the same for the same verdict."""
    return json.dumps({name: row[name] for name in REMADE}, sort_keys=True, indent=1).encode()


def as_recorded(verdict: Verdict) -> dict[str, Any]:
    """The columns of a verdict that follow from its evidence, as they are stored."""
    return {
        "outcome": str(verdict.outcome),
        "reasons": list(verdict.reasons),
        "metrics": json_value(verdict.metrics),
    }


def differences(recorded: Any, again: Any, name: str = "") -> list[str]:
    """The fields in which two JSON values differ, each with both values."""
    if isinstance(recorded, Mapping) and isinstance(again, Mapping):
        names = sorted(recorded.keys() | again.keys())
        parts = [(recorded.get(key), again.get(key), f"{name}.{key}".lstrip(".")) for key in names]
    elif isinstance(recorded, list) and isinstance(again, list) and len(recorded) == len(again):
        parts = [
            (one, other, f"{name}[{place}]")
            for place, (one, other) in enumerate(zip(recorded, again, strict=True))
        ]
    else:
        same = json.dumps(recorded, sort_keys=True) == json.dumps(again, sort_keys=True)
        return [] if same else [f"{name}: recorded is {recorded!r}, computed {again!r}"]
    return [line for part in parts for line in differences(*part)]
