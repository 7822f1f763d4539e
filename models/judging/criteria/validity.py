"""Whether the evidence is evidence: whole rows, two models, nothing that either was trained on."""

from collections.abc import Iterator
from typing import Any

import numpy as np

from core.text import counted, listed
from models.judging.criterion import Criterion, Status
from models.judging.gate_evidence import Evidence, Rows
from models.judging.verdict import GatePolicy

PASS, FAIL, UNKNOWN = Status.PASS, Status.FAIL, Status.UNKNOWN
_Numbers = dict[str, Any]  # fields of a criterion


def rows(evidence: Evidence, policy: GatePolicy) -> list[Criterion]:
    """Enough rows; finite outputs of both models for the same rows in the same order."""
    needed = evidence.population(policy.population)
    main = evidence.rows.get(needed)
    count = 0 if main is None else len(main)
    problems = [problem for rows in evidence.all_rows for problem in _problems(evidence, rows)]
    numbers: _Numbers = {"population": needed, "value": float(count), "rows": count,
               "threshold": float(policy.min_rows)}  # fmt: skip
    if problems:
        remedy = "judge again, with outputs of both models for the same rows"
        return [Criterion("rows", FAIL, "; ".join(problems), **numbers, remedy=remedy)]
    if count < policy.min_rows:
        missing = policy.min_rows - count
        what = f"{count} gate rows of the {needed}; {policy.min_rows} are needed: label more"
        return [Criterion("rows", UNKNOWN, what, **numbers,
                          remedy=f"{counted(missing, 'label')} more of the audit")]  # fmt: skip
    what = f"{count} gate rows of the {needed}, the same for both models"
    return [Criterion("rows", PASS, what, **numbers)]


def leakage(evidence: Evidence, policy: GatePolicy) -> list[Criterion]:
    """No row that is measured on in either model's training, nor anything held out of this one.

    Near-duplicates count as the row itself: what is compared are their groups. What was held out
    after the champion was trained, and is not measured on, is no leak.
    """
    measured = {group for rows in evidence.all_rows for group in rows.group_ids}
    apart = measured | evidence.held_out
    leaked = {"challenger": sorted(apart & evidence.challenger.training_groups)}
    if evidence.champion is not None:
        leaked["champion"] = sorted(measured & evidence.champion.training_groups)
    count = sum(map(len, leaked.values()))
    numbers: _Numbers = {"value": float(count), "threshold": 0.0, "rows": len(apart)}
    if not count:
        what = f"neither model was trained on any of {counted(len(apart), 'group')} held out"
        return [Criterion("leakage", PASS, what, **numbers)]
    what = "; ".join(
        f"the {name} was trained on {counted(len(groups), 'group')} held out: {listed(groups)}"
        for name, groups in leaked.items()
        if groups
    )
    remedy = "cut a new snapshot and train again; `hone fsck` names what is in the wrong place"
    return [Criterion("leakage", FAIL, what, **numbers, remedy=remedy)]


def distinct(evidence: Evidence, policy: GatePolicy) -> list[Criterion]:
    """Challenger and champion are two models: a model compared with itself proves nothing."""
    champion = evidence.champion
    if champion is None:
        return []
    if champion.version == evidence.challenger.version:
        what = f"{champion.version} is compared with itself"
        return [Criterion("distinct", FAIL, what, remedy="judge another model")]
    pairs = [(rows.challenger.outputs, rows.champion.outputs)
             for rows in evidence.all_rows if rows.champion is not None]  # fmt: skip
    count = sum(int((one != other).any(axis=1).sum()) for one, other in pairs)
    total = sum(len(one) for one, _ in pairs)
    numbers: _Numbers = {"value": float(count), "threshold": 1.0, "rows": total}
    if count:
        what = f"the outputs differ on {count} of {total} rows"
        return [Criterion("distinct", PASS, what, **numbers)]
    what = f"both models have the same outputs on all {total} rows: one may be the other's copy"
    return [Criterion("distinct", FAIL, what, **numbers, remedy="train again with other labels")]


def _problems(evidence: Evidence, rows: Rows) -> Iterator[str]:
    """The reasons why these rows cannot be compared."""
    if len(set(rows.group_ids)) < len(rows):
        yield f"{len(rows)} rows stand for {len(set(rows.group_ids))} groups of near-duplicates"
    unknown = evidence.kind.unknown_truths(rows.truths, evidence.classes)
    if unknown:
        yield f"{len(unknown)} truths are no class, such as {unknown[0]!r}"
    lengths = {len(rows.group_ids), len(rows.truths), *map(len, rows.slices.values())}
    if lengths != {len(rows)}:
        yield f"groups, truths and slices are not one for each of {len(rows)} rows"
    if evidence.champion is not None and rows.champion is None:
        yield "there are no outputs of the champion"
    for name, model in rows.models():
        if model.sample_ids != rows.sample_ids:
            same = set(model.sample_ids) == set(rows.sample_ids)
            yield f"{name}: its outputs are for {'another order of rows' if same else 'other rows'}"
        for problem in evidence.kind.problems(
            np.asarray(model.outputs), len(rows), evidence.classes
        ):
            yield f"{name}: {problem}"
