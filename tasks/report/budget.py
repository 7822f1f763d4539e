"""What more labels would bring: gather the evidence, ask for the forecast, and put it into words.

The models of past rounds are asked about the audit rows of the newest snapshot, so that all are
judged on the same; nobody was trained on those. The cheap head beside them stands on the network
as it is before it sees a label.

The audit of a snapshot is pooled over its rounds: each part was drawn from the pool as it remained,
without the hard samples that were chosen before. In a small pool that is too kind: by 0.046 for
1,000 samples after ten rounds of 50, and by less than can be told for 10,000.
"""

from dataclasses import asdict, dataclass, replace
from itertools import pairwise
from typing import Any

import numpy as np
import pandas as pd
from prefect import task
from sqlalchemy import Engine, select

from core.intervals import Interval, mean_interval
from labeling.budget.learning_curve import (
    BudgetPolicy,
    CurveData,
    LearningCurve,
    advise,
    learning_curve,
)
from labeling.budget.subset_curve import subset_errors
from labeling.ledger.reasons import RELABEL_REASONS, Reason
from labeling.ledger.tables import assignments, labels, rounds, samples
from labeling.quality.chosen_vs_random import compare_to_random
from labeling.snapshots import publish as frozen
from labeling.strategies import STRATEGIES
from models.judging.lure import is_sequential_draw, lure_accuracy, naive_accuracy
from models.registry import versions
from tasks.context import Context, open_context
from tasks.predictions import predict_with
from tasks.report.artifacts import publish_page
from tasks.report.budget_view import budget_page, draw_budget

MOST_ROUNDS = 12  # looked back on, for the curve and for how good forecasts were
MOST_ROWS = 4000  # labels that the cheap head learns from: minutes of decoding, not hours
LABELLED = ("train", "val")


@dataclass(frozen=True)
class Round:
    """A snapshot, and the newest model that was trained on it."""

    name: str
    table: pd.DataFrame
    version: str | None

    @property
    def labelled(self) -> pd.DataFrame:
        return self.table[self.table["split"].isin(LABELLED)]

    @property
    def audit(self) -> pd.DataFrame:
        return self.table[self.table["split"] == "test"]


@dataclass(frozen=True)
class Observations:
    """What is known of every sample: its features, and what each model says of an audit row."""

    features: dict[str, np.ndarray]
    said: dict[str, dict[str, str]]  # version -> sample_id -> class
    source: str  # of the features, in words


@task
def publish_budget(policy: BudgetPolicy = BudgetPolicy()) -> None:  # noqa: B008 - frozen
    """Show what more labels would bring, and the advice, on a page in Prefect."""
    try:
        report = budget_report(policy)
    except ValueError as error:
        print(f"no forecast yet: {error}")
        return
    advice = f"{report['advice']}: {report['reason']}"
    print(advice)
    publish_page(key="budget", markdown=budget_page(report), description=advice)


def budget_report(policy: BudgetPolicy, *, seed: int = 0) -> dict[str, Any]:
    """The learning curve, its forecast and advice, and how good the forecasts of the past were."""
    ctx = open_context()
    past = _rounds(ctx)
    seen = _seen(ctx, past)
    curve = curve_after(past, seen, seed)
    scored = score_forecasts(past, seen, seed)
    off = [abs(row["error"]) for row in scored]
    usual = float(np.mean(off)) if off else None
    price = ctx.workspace.price
    outcome, reason = advise(curve, policy, price=price, usual_error=usual)
    report = {
        "snapshot": past[-1].name,
        "labels": curve.labels,
        "audit_rows": len(past[-1].audit),
        "models": sum(one.version is not None for one in past),
        "features": seen.source,
        "price": price,
        "advice": outcome,
        "reason": reason,
        "accuracy": asdict(curve.forecast(curve.labels)),
        "forecasts": [step(curve, more, price) for more in policy.ahead],
        "points": [dict(zip(_POINT, point, strict=True)) for point in curve.points],
        "past": scored,
        "past_error": usual,
        "past_error_of_no_change": (
            float(np.mean([abs(row["came"] - row["before"]) for row in scored])) if off else None
        ),
        "batches": batch_reports(ctx.engine),
        "choosing": choosing_report(ctx.engine, past[-1], seen, seed),
    }
    picture = ctx.workspace.runs / "budget.png"
    draw_budget(curve, report, picture)
    return report | {"picture": str(picture)}


_POINT = ("labels", "accuracy", "deviation", "model")


def batch_reports(engine: Engine) -> list[dict[str, Any]]:
    """For each round what its batch says of the model that chose it, oldest first.

    The model's guesses are from before it was told, so that none of the batch was trained on: its
    accuracy by the audit samples, by all samples with their importance, and naively.
    """
    known = (labels.c.sample_id == assignments.c.sample_id) & labels.c.replaced_at.is_(None)
    query = (
        select(
            *assignments.c["round_id", "reason", "inclusion_probability", "draw_probability"],
            *assignments.c["draws_from", "pre_annotation_model"],
            *(rounds.c.config, samples.c.origin),
            (assignments.c.pre_annotation == labels.c.label).label(
                "right"
            ),  # null until it is answered
        )
        .join(rounds, rounds.c.round_id == assignments.c.round_id)
        .join(samples, samples.c.sample_id == assignments.c.sample_id)
        .outerjoin(labels, known)
        .where(assignments.c.pre_annotation.is_not(None))
        .where(assignments.c.pre_annotation_model.in_(select(versions.models.c.version)))
        .where(assignments.c.reason.not_in((Reason.GOLD, *RELABEL_REASONS)))
        .order_by(rounds.c.number, assignments.c.position)  # as they were drawn
    )
    with engine.connect() as connection:
        found = pd.read_sql(query, connection)
    return [
        {"round": name, "model": asked["pre_annotation_model"].iloc[0], **_accuracies(asked)}
        for name, asked in found.groupby("round_id", sort=False)
        if asked["right"].notna().any()
    ]


def _accuracies(asked: pd.DataFrame) -> dict[str, Any]:
    """Naive, LURE and audit accuracy of one batch, None where there is none; and what limits them.

    Whoever has not answered yet counts only for how the batch was drawn.
    """
    batch = asked[asked["right"].notna()]
    right = batch["right"].astype(bool).to_numpy()
    is_audit = (batch["reason"] == "audit").to_numpy()
    audit = batch[is_audit]
    by_chance = is_audit | (batch["reason"] == "random").to_numpy()
    is_fair = asked["draws_from"].notna().all() and by_chance.any()
    alone = is_sequential_draw(asked["draws_from"].to_numpy(dtype=float))
    notes = []
    if is_fair and not alone:
        notes.append("no LURE: near-duplicates left the pool with what was drawn")
    if len(audit) and _of_served_only(audit):
        notes.append("its audit is of served traffic only")
    return {
        "naive": _plain(naive_accuracy(right)),
        "lure": _fair(right, batch) if is_fair and alone else None,
        "audit": _by_audit(right[is_audit], audit) if len(audit) else None,
        "notes": notes,
    }


def _fair(right: np.ndarray, batch: pd.DataFrame) -> dict[str, float]:
    drawn, left = (batch[name].to_numpy(dtype=float) for name in ("draw_probability", "draws_from"))
    return _plain(lure_accuracy(right, draw_probability=drawn, draws_from=left))


def _by_audit(right: np.ndarray, audit: pd.DataFrame) -> dict[str, float]:
    drawn = audit["inclusion_probability"].to_numpy(dtype=float)
    return _plain(mean_interval(right, inclusion_probability=drawn))


def _of_served_only(audit: pd.DataFrame) -> bool:
    """Whether the audit was drawn from served samples, and nothing else is in it."""
    wanted = audit["config"].iloc[0].get("served_share", 0) > 0
    return bool(wanted and (audit["origin"] == "served").all())


def choosing_report(
    engine: Engine, now: Round, seen: Observations, seed: int
) -> dict[str, Any] | None:
    """What labels that a strategy chose teach, beside as many drawn at random; None with too few.

    Neither are imported labels, nor those that somebody named or that a quota or share asked for.
    """
    asked = (
        select(assignments.c.sample_id, assignments.c.reason)
        .join(rounds, rounds.c.round_id == assignments.c.round_id)
        .where(assignments.c.reason.in_(STRATEGIES))
        .order_by(rounds.c.number)
    )
    with engine.connect() as connection:
        reasons = dict(connection.execute(asked).tuples().all())
    learnt, audit = (
        part[part["sample_id"].isin(known)]
        for part, known in (
            (now.labelled, seen.features.keys() & reasons),
            (now.audit, seen.features),
        )
    )
    if learnt.empty:
        return None
    found = compare_to_random(
        _stacked(seen, learnt),
        learnt["label"].to_numpy(dtype=object),
        (learnt["sample_id"].map(reasons) == "random").to_numpy(),
        _stacked(seen, audit),
        audit["label"].to_numpy(dtype=object),
        np.random.default_rng(seed),
    )
    return None if found is None else {**asdict(found), "said": str(found)}


def _plain(found: Interval) -> dict[str, float]:
    return asdict(found)


def _rounds(ctx: Context) -> list[Round]:
    """The newest snapshots, oldest first, with their models."""
    names = frozen.list_snapshots(ctx.engine)["name"].tolist()[-MOST_ROUNDS:]
    if not names:
        raise ValueError(
            "there is no snapshot to learn a curve from; `hone collect` cuts one from the answers"
        )
    table = versions.models
    with ctx.engine.connect() as connection:
        made = select(table.c.snapshot, table.c.version).order_by(table.c.created_at)
        newest = dict(connection.execute(made).tuples().all())
    return [
        Round(name, frozen.load_snapshot(ctx.engine, ctx.workspace, name), newest.get(name))
        for name in names
    ]


def curve_after(past: list[Round], seen: Observations, seed: int) -> LearningCurve:
    """The curve as it could be known after the last of these rounds."""
    now = past[-1]
    rng = np.random.default_rng([seed, len(now.table)])
    audit, learnt = (
        part[part["sample_id"].isin(seen.features)] for part in (now.audit, now.labelled)
    )
    sizes, mistaken = subset_errors(
        _stacked(seen, learnt), learnt["label"].tolist(), _stacked(seen, audit),
        audit["label"].tolist(), rng,
    )  # fmt: skip
    trained = [one for one in past if one.version is not None]
    evidence = CurveData(
        own_labels=np.array([len(one.labelled) for one in trained], dtype=int),
        own_mistaken=np.array(
            [_mistaken(seen.said[str(one.version)], audit) for one in trained], dtype=bool
        ).reshape(len(trained), len(audit)),
        head_labels=sizes,
        head_mistaken=mistaken,
        weights=1 / audit["inclusion_probability"].to_numpy(dtype=float),
    )
    return learning_curve(evidence, rng)


def score_forecasts(past: list[Round], seen: Observations, seed: int) -> list[dict[str, Any]]:
    """Each forecast that the round before could have made of a round, beside what came.

    What came is judged as it was then, on the audit rows of its own snapshot: where these moved,
    as after drift, no forecast could know, and it counts as its error all the same.
    """
    trained = [place for place, one in enumerate(past) if one.version is not None]
    rows = []
    for before, after in pairwise(trained):
        try:
            curve = curve_after(past[: before + 1], seen, seed)
        except ValueError:
            continue  # at that time nothing could be forecast yet
        ahead = curve.forecast(len(past[after].labelled))
        audit = past[after].audit
        came, was = (_accuracy(seen.said[str(past[one].version)], audit) for one in (after, before))
        rows.append(
            {"snapshot": past[before].name, "labels": curve.labels, "ahead": ahead.labels,
             "forecast": ahead.accuracy, "low": ahead.low, "high": ahead.high, "came": came,
             "before": was, "error": came - ahead.accuracy}
        )  # fmt: skip
    return rows


def _seen(ctx: Context, past: list[Round]) -> Observations:
    """Look at what the curves need once: the audit, and labelled rows up to a limit."""
    now = past[-1]
    frozen.fetch_shards(ctx.engine, ctx.workspace, now.name)
    learnt = now.labelled
    if len(learnt) > MOST_ROWS:
        learnt = learnt.sample(MOST_ROWS, random_state=0)
    rows = pd.concat([learnt, now.audit], ignore_index=True)
    features, source = _features(ctx, past, rows)
    said = {str(one.version): _said(ctx, one, now.audit) for one in past if one.version}
    return Observations(dict(zip(rows["sample_id"], features, strict=True)), said, source)


def _features(ctx: Context, past: list[Round], rows: pd.DataFrame) -> tuple[np.ndarray, str]:
    """What the network makes of the images before it sees a label, and a word about it."""
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
    told = "random weights" if config.weights is None else f"{config.weights} weights"
    found = predict_table(
        network, rows, ctx.workspace.shards, size, precision="auto",
        threads=ctx.settings.threads, name=f"{config.backbone} before training",
    )  # fmt: skip
    return found.embeddings, f"{config.backbone} before training ({told})"


def _said(ctx: Context, one: Round, audit: pd.DataFrame) -> dict[str, str]:
    """What the model of a round says of each audit row; most of it was kept when it was saved."""
    model, predictions = predict_with(ctx, str(one.version), audit)
    answers = model.card.label_kind.answers(predictions.outputs, model.card.classes)
    return {name: answer.label for name, answer in zip(audit["sample_id"], answers, strict=True)}


def _stacked(seen: Observations, rows: pd.DataFrame) -> np.ndarray:
    if rows.empty:
        raise ValueError("no audit sample has a label yet; answer some, then `hone collect`")
    return np.stack([seen.features[name] for name in rows["sample_id"]])


def _mistaken(said: dict[str, str], audit: pd.DataFrame) -> np.ndarray:
    return audit["sample_id"].map(said).to_numpy() != audit["label"].to_numpy()


def _accuracy(said: dict[str, str], audit: pd.DataFrame) -> float:
    drawn = audit["inclusion_probability"].to_numpy(dtype=float)
    return mean_interval(~_mistaken(said, audit), inclusion_probability=drawn).value


def step(curve: LearningCurve, more: int, price: float | None) -> dict[str, Any]:
    """The forecast for so many more labels, and what they cost."""
    ahead = curve.forecast(curve.labels + more)
    cost = None if price is None else price * more
    a_point = cost / (100 * ahead.gain) if cost is not None and ahead.gain > 1e-4 else None
    return {"more": more, **asdict(ahead), "cost": cost, "cost_of_a_point": a_point}
