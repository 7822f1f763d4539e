"""What more labels would bring: load snapshots and models, ask for the forecast, and publish it.

The models of past rounds are judged on the gate's audit rows of the newest snapshot, so that all
are judged on the same; none was trained on those. The advice is a decision, so that it does not
look at the rows that report. The features of the cheap head are those of the
network before it was trained on any label.
"""

from dataclasses import replace

import numpy as np
import pandas as pd

from labeling.audit.numbers import Part
from labeling.audit.rows import without_uncounted
from labeling.budget.forecasts import (
    Observations,
    Round,
    compare_choosing,
    curve_after,
    priced_forecast,
    score_forecasts,
)
from labeling.budget.learning_curve import BudgetPolicy, advise
from labeling.budget.report import BudgetReport
from labeling.ledger.batch_queries import reasons_of_chosen
from labeling.quality.chosen_vs_random import ChosenVsRandom
from labeling.snapshots import publish as frozen
from labeling.strategies import STRATEGIES
from models.registry import versions
from models.registry.overview import registry_overview
from tasks.context import Context, open_context
from tasks.predictions import predict_with
from tasks.report.batch_accuracy import batch_accuracies
from tasks.report.budget_record import save_budget
from tasks.report.budget_view import draw_budget

MAX_ROUNDS = 12  # past rounds, for the curve and for how good forecasts were
MAX_ROWS = 4000  # labels that the cheap head learns from: minutes of decoding, not hours


def budget_report(policy: BudgetPolicy, *, seed: int = 0) -> BudgetReport:
    """The learning curve, its forecast and advice, and how good the forecasts of the past were."""
    ctx = open_context()
    past = _load_rounds(ctx)
    observed = _observe(ctx, past)
    curve = curve_after(past, observed, seed)
    scored = score_forecasts(past, observed, seed)
    usual_error = _mean_error([row.error for row in scored])
    price = ctx.workspace.price
    advice, reason = advise(curve, policy, price=price, usual_error=usual_error)
    report = BudgetReport(
        snapshot=past[-1].name,
        labels=curve.labels,
        audit_rows=len(past[-1].audit),
        models=sum(one.version is not None for one in past),
        features=observed.source,
        price=price,
        advice=advice,
        reason=reason,
        accuracy=curve.forecast(curve.labels),
        forecasts=[priced_forecast(curve, more, price) for more in policy.ahead],
        points=list(curve.points),
        past=scored,
        past_error=usual_error,
        past_error_of_no_change=_mean_error([row.came - row.before for row in scored]),
        batches=batch_accuracies(ctx.engine),
        choosing=_choosing(ctx, past[-1], observed, seed),
        picture=str(ctx.workspace.runs / "budget.png"),
        champion_accuracy=_champion_accuracy(ctx),
    )
    draw_budget(curve, report)
    save_budget(curve, report)
    return report


def _champion_accuracy(ctx: Context) -> str | None:
    """On audit rows that no verdict uses; those of the curve decided what was promoted."""
    with ctx.engine.connect() as connection:
        champion = registry_overview(connection).champion
    return None if champion is None or champion.accuracy is None else str(champion.accuracy)


def _mean_error(errors: list[float]) -> float | None:
    return float(np.mean(np.abs(errors))) if errors else None


def _choosing(
    ctx: Context, last: Round, observed: Observations, seed: int
) -> ChosenVsRandom | None:
    """Chosen against random labels, without those that were imported, named or for a quota."""
    with ctx.engine.connect() as connection:
        reasons = reasons_of_chosen(connection, STRATEGIES)
    return compare_choosing(last, observed, reasons, seed)


def _load_rounds(ctx: Context) -> list[Round]:
    """The newest snapshots, oldest first, with their models."""
    with ctx.engine.connect() as connection:
        taught = frozen.teachers(connection)  # the same labels again, for a student
    every = frozen.list_snapshots(ctx.engine)["name"].tolist()
    names = [name for name in every if name not in taught][-MAX_ROUNDS:]
    if not names:
        raise ValueError(
            "there is no snapshot to learn a curve from; `hone collect` cuts one from the answers"
        )
    newest = versions.newest_versions(ctx.engine)
    tables = [frozen.load_snapshot(ctx.engine, ctx.workspace, name) for name in names]
    with ctx.engine.connect() as connection:
        tables = [without_uncounted(connection, table, part=Part.GATE) for table in tables]
    return [Round(name, table, newest.get(name)) for name, table in zip(names, tables, strict=True)]


def _observe(ctx: Context, past: list[Round]) -> Observations:
    """The features of audit rows and of labelled rows up to a limit, and all predictions."""
    last = past[-1]
    frozen.fetch_shards(ctx.engine, ctx.workspace, last.name)
    labelled = last.labelled
    if len(labelled) > MAX_ROWS:
        labelled = labelled.sample(MAX_ROWS, random_state=0)
    rows = pd.concat([labelled, last.audit], ignore_index=True)
    features, source = _features(ctx, past, rows)
    predicted = {
        one.version: _predicted(ctx, one.version, last.audit) for one in past if one.version
    }
    return Observations(dict(zip(rows["sample_id"], features, strict=True)), predicted, source)


def _features(ctx: Context, past: list[Round], rows: pd.DataFrame) -> tuple[np.ndarray, str]:
    """The embeddings of the network before it was trained on a label, and their source in words."""
    import torch

    from models.network.network import NetworkConfig, build
    from models.scoring.predict import predict_table

    config = NetworkConfig()
    newest = [one.version for one in past if one.version is not None]
    if newest:
        card = versions.find_model(ctx.engine, newest[-1]).config
        config = NetworkConfig(**card["network"])
    size, classes = ctx.workspace.image_size, len(ctx.workspace.classes)
    with torch.random.fork_rng():
        torch.manual_seed(0)
        try:
            network = build(config, classes=classes, image_size=size)
        except ValueError as error:
            print(f"the weights it started from are not at hand: {error}")
            config = replace(config, weights=None)
            network = build(config, classes=classes, image_size=size)
    weights = "random weights" if config.weights is None else f"{config.weights} weights"
    predictions = predict_table(
        network, rows, ctx.workspace.shards, size, precision="auto",
        threads=ctx.settings.threads, name=f"{config.backbone} before training",
    )  # fmt: skip
    return predictions.embeddings, f"{config.backbone} before training ({weights})"


def _predicted(ctx: Context, version: str, audit: pd.DataFrame) -> dict[str, str]:
    """The class that a model predicts for each audit row; most were stored with the model."""
    model, predictions = predict_with(ctx, version, audit)
    answers = model.card.label_kind.answers(predictions.outputs, model.card.classes)
    return {name: answer.label for name, answer in zip(audit["sample_id"], answers, strict=True)}
