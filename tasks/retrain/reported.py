"""The accuracy that is shown of a model: on audit rows that no verdict ever uses."""

from dataclasses import asdict, replace
from typing import TYPE_CHECKING, Any

import pandas as pd

from core.intervals import Interval, mean_interval
from labeling.audit.numbers import Part
from labeling.audit.rows import Population, of_part, rows_unseen_by
from labeling.ledger.reasons import LEARNT_FROM, Split
from labeling.snapshots.publish import load_snapshot
from models.judging.verdict import Verdict
from models.registry.versions import find_model
from tasks.audit_rows import served_groups
from tasks.context import Context
from tasks.predictions import predict_with

if TYPE_CHECKING:
    from tasks.retrain.gather import GateRows


def with_reported(ctx: Context, gate: "GateRows", verdict: Verdict) -> Verdict:
    """The verdict with the challenger's accuracy to show, by population, as `reported`."""
    table = load_snapshot(ctx.engine, ctx.workspace, gate.snapshot)
    rows = table[table["split"] == Split.TEST]
    shown = reported_accuracy(ctx, gate.challenger, rows, served_by=gate.champion)
    reported = {population: asdict(accuracy) for population, accuracy in shown.items()}
    return replace(verdict, metrics={**verdict.metrics, "reported": reported})


def track_verdict(ctx: Context, challenger: str, verdict: Verdict) -> None:
    """Put the figures of a verdict beside the training of its challenger, in files and in W&B."""
    from models.training.tracking import add_verdict

    add_verdict(
        ctx.workspace.runs,
        challenger,
        verdict_figures(verdict) | _runtime_figures(ctx, challenger),
        project=ctx.settings.wandb_project,
        api_key=ctx.settings.wandb_key,
    )


def verdict_figures(verdict: Verdict) -> dict[str, object]:
    """Outcome, and each accuracy with its interval, population and number of labels.

    That on the gate's rows decided; the reported one is on rows that no verdict uses.
    """
    metrics = verdict.metrics
    figures: dict[str, object] = {"outcome": str(verdict.outcome)}
    name = "challenger_accuracy"
    if f"{name}_low" in metrics:  # a duel alone has none on the gate's rows
        gate = Interval(metrics[name], metrics[f"{name}_low"], metrics[f"{name}_high"],
                        metrics["rows"])  # fmt: skip
        figures |= _named(f"gate/{metrics['population']}", asdict(gate))
    for population, accuracy in metrics.get("reported", {}).items():
        figures |= _named(f"reported/{population}", accuracy)
    return figures


def _runtime_figures(ctx: Context, version: str) -> dict[str, object]:
    """What serves the version on this machine, and how much faster than torch; {} if unmeasured."""
    from models.runtimes.choice import choices, model_folder

    choice = next(choices(model_folder(ctx.workspace.runtimes, version)), None)
    if choice is None:
        return {}
    return {"runtime": choice.sentence(), "runtime/speed_up": choice.speed_up}


def _named(prefix: str, interval: dict[str, Any]) -> dict[str, object]:
    return {
        f"{prefix}/accuracy": interval["value"],
        f"{prefix}/accuracy_low": interval["low"],
        f"{prefix}/accuracy_high": interval["high"],
        f"{prefix}/labels": interval["rows"],
    }


def reported_accuracy(
    ctx: Context, version: str, rows: pd.DataFrame, *, served_by: str | None
) -> dict[str, Interval]:
    """The accuracy of a version by population; one without a labelled row is left out.

    `rows` are the audit rows of a snapshot, `served_by` the model whose answers are the traffic.
    Rows that the version was trained on, or near-duplicates of them, do not count.
    """
    table = load_snapshot(ctx.engine, ctx.workspace, find_model(ctx.engine, version).snapshot)
    trained = table.loc[table["split"].isin(LEARNT_FROM), "sample_id"].tolist()
    with ctx.engine.connect() as connection:
        unseen = rows_unseen_by(connection, rows, trained)
        groups = unseen["group_id"].tolist()
        served = served_groups(connection, served_by, groups) if served_by else set[str]()
        parts = {
            population: of_part(
                connection, unseen, part=Part.REPORT, population=population, served_groups=served
            )
            for population in Population
        }
    return {
        population.value: _accuracy(ctx, version, part)
        for population, part in parts.items()
        if len(part)
    }


def _accuracy(ctx: Context, version: str, rows: pd.DataFrame) -> Interval:
    model, predictions = predict_with(ctx, version, rows)
    classes = list(model.card.classes)
    credit = model.card.label_kind.credit(predictions.outputs, rows["label"].tolist(), classes)
    return mean_interval(credit)
