"""The evidence of a verdict: the gate rows of a snapshot, with the outputs of both models."""

import hashlib
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
from sqlalchemy import Connection

from core.intervals import Interval
from labeling.audit.numbers import Part
from labeling.audit.rows import Population, of_part
from labeling.ledger.metadata import slice_columns
from labeling.ledger.reasons import LEARNT_FROM, Split
from labeling.ledger.samples import groups_of
from labeling.snapshots import publish as frozen
from models.judging.aligned import aligned_outputs
from models.judging.corruptions import MOST_ROWS, robustness
from models.judging.gate_evidence import Evidence, Judged, Rows, Scored
from models.judging.verdict import GatePolicy
from models.registry import releases, versions
from tasks.audit_rows import served_groups
from tasks.context import Context
from tasks.predictions import predict_with
from tasks.retrain.evidence import corrupted_outputs, speeds

if TYPE_CHECKING:
    from models.registry.model_store import LoadedModel

POOL, TRAFFIC = Population.POOL, Population.TRAFFIC
SLICE = "slice "  # begins the columns of the rows whose values are judged by themselves
HELD_OUT = (Split.TEST, Split.HELD)


@dataclass(frozen=True)
class _Scored:
    loaded: "LoadedModel"
    outputs: np.ndarray  # for all rows, in the challenger's classes
    judged: Judged


@dataclass(frozen=True)
class GateRows:
    """The rows that a challenger is judged on, before any model was asked."""

    challenger: str
    champion: str | None
    snapshot: str
    parts: dict[str, pd.DataFrame]  # by population
    rows: pd.DataFrame  # of all populations, each once
    held_out: frozenset[str]  # groups of the audit and of gold, and their near-duplicates
    fingerprint: str


def gate_rows(ctx: Context, challenger: str, snapshot: str) -> GateRows:
    """The rows of `snapshot` that verdicts may use.

    Rows on which the champion was trained, or which resemble one, are left out.
    """
    champion = releases.champion(ctx.engine)
    table = frozen.load_snapshot(ctx.engine, ctx.workspace, snapshot)
    learnt = training_groups(ctx, champion)
    with ctx.engine.connect() as connection:
        parts = _parts(connection, table, champion, learnt)
        apart = table.loc[table["split"].isin(HELD_OUT), "sample_id"]
        held_out = frozenset(groups_of(connection, apart.tolist()).values())
    rows = pd.concat(parts.values()).drop_duplicates("sample_id").reset_index(drop=True)
    return GateRows(challenger, champion, snapshot, parts, rows, held_out, _fingerprint(rows))


def gather(ctx: Context, gate: GateRows, policy: GatePolicy) -> Evidence:
    """All that the criteria look at."""
    champions = [gate.champion] if gate.champion else []
    scored = _scored(ctx, [gate.challenger, *champions], gate.rows)
    number = versions.evidence_number(
        ctx.engine,
        challenger=gate.challenger,
        champion=gate.champion,
        rows_fingerprint=gate.fingerprint,
    )
    return replace(
        _evidence(scored, gate.parts, gate.rows),
        number=number,
        held_out=gate.held_out,
        robustness=_robustness(ctx, scored, gate.parts[POOL], policy),
    )


def training_groups(ctx: Context, model: str | None) -> frozenset[str]:
    """The near-duplicate groups that a model learnt from, validation and pseudo-labels too."""
    if model is None:
        return frozenset()
    snapshot = versions.find_model(ctx.engine, model).snapshot
    table = frozen.load_snapshot(ctx.engine, ctx.workspace, snapshot)
    learnt = table.loc[table["split"].isin(LEARNT_FROM), "sample_id"].tolist()
    with ctx.engine.connect() as connection:
        return frozenset(groups_of(connection, learnt).values())


def _parts(
    connection: Connection, table: pd.DataFrame, champion: str | None, learnt: frozenset[str]
) -> dict[str, pd.DataFrame]:
    """The rows of each population, and of the traffic where any of it has a label."""
    audited = table[table["split"] == Split.TEST]
    names = audited["sample_id"].tolist()
    groups = audited["sample_id"].map(groups_of(connection, names))
    slices = {"source": audited["source"].tolist(), **slice_columns(connection, names)}
    columns = {f"{SLICE}{name}": pd.Series(values, index=audited.index, dtype=object)
               for name, values in slices.items()}  # fmt: skip
    audited = audited.assign(group_id=groups, **columns)
    parts = {POOL: of_part(connection, audited, part=Part.GATE)}
    if champion is not None:
        served = served_groups(connection, champion, groups.tolist())
        parts[TRAFFIC] = of_part(
            connection, audited, part=Part.GATE, population=TRAFFIC, served_groups=served
        )
    free = {name: rows[~rows["group_id"].isin(list(learnt))] for name, rows in parts.items()}
    return {name: rows.reset_index(drop=True) for name, rows in free.items()
            if name == POOL or len(rows)}  # fmt: skip


def _scored(ctx: Context, models: list[str], rows: pd.DataFrame) -> list[_Scored]:
    """Each model with its outputs for the rows, in the classes of the first, and its speed."""
    predicted = [predict_with(ctx, version, rows) for version in models]
    classes = predicted[0][0].card.classes
    taken = speeds(ctx, {model.version: model for model, _ in predicted})
    return [
        _Scored(
            model,
            aligned_outputs(predictions.outputs, model.card.classes, classes),
            Judged(model.version, training_groups(ctx, model.version), taken[model.version]),
        )
        for model, predictions in predicted
    ]


def _evidence(
    scored: list[_Scored], parts: dict[str, pd.DataFrame], rows: pd.DataFrame
) -> Evidence:
    challenger, *others = scored
    places = {sample: place for place, sample in enumerate(rows["sample_id"])}

    def of(one: _Scored, samples: tuple[str, ...]) -> Scored:
        return Scored(samples, one.outputs[[places[sample] for sample in samples]])

    def judged_rows(part: pd.DataFrame) -> Rows:
        samples = tuple(part["sample_id"])
        return Rows(
            sample_ids=samples,
            group_ids=tuple(part["group_id"]),
            truths=tuple(part["label"]),
            challenger=of(challenger, samples),
            champion=of(others[0], samples) if others else None,
            slices={
                name.removeprefix(SLICE): part[name].tolist()
                for name in map(str, part)
                if name.startswith(SLICE)
            },
        )

    return Evidence(
        challenger=challenger.judged,
        champion=others[0].judged if others else None,
        classes=tuple(challenger.loaded.card.classes),
        rows={name: judged_rows(part) for name, part in parts.items()},
        kind=challenger.loaded.card.label_kind,
    )


def _robustness(
    ctx: Context, scored: list[_Scored], rows: pd.DataFrame, policy: GatePolicy
) -> dict[str, Interval] | None:
    """The difference on corrupted rows of the pool; None without a champion or without rows."""
    if len(scored) < 2 or len(rows) < policy.min_rows:
        return None
    classes = scored[0].loaded.card.classes
    kind, rows = scored[0].loaded.card.label_kind, rows.head(MOST_ROWS)
    credits = [
        {
            corruption: kind.credit(
                aligned_outputs(outputs, one.loaded.card.classes, classes),
                rows["label"].tolist(),
                classes,
            )
            for corruption, outputs in corrupted_outputs(ctx, one.loaded, rows).items()
        }
        for one in scored
    ]
    return robustness(*credits, alpha=policy.alpha)


def _fingerprint(rows: pd.DataFrame) -> str:
    words = rows[["sample_id", "label", "stored_sha256"]].to_csv(index=False)
    return hashlib.sha256(words.encode()).hexdigest()
