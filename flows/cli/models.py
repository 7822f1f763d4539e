"""Commands about models: train, release, forecast, trace."""

from dataclasses import replace
from typing import TYPE_CHECKING, Annotated

import typer

from core.text import printable
from flows.cli.options import Annotators, Answering, AsJson, echo_json, single_run

if TYPE_CHECKING:
    from tasks.operate.release import Change

PANEL = "Models"
app = typer.Typer()

Who = Annotated[str, typer.Option(help="The person who takes responsibility.")]
Why = Annotated[str, typer.Option(help="The reason, kept for good.")]
Challenger = Annotated[str | None, typer.Argument(help="Of the champion's classes.")]


@app.command(rich_help_panel=PANEL)
def retrain(
    snapshot: Annotated[str | None, typer.Option(help="Default: the newest.")] = None,
    backbone: Annotated[
        str, typer.Option(help="Of torchvision, or efficientnet_lite0.")
    ] = "resnet18",
    weights: Annotated[
        str | None, typer.Option(help="'default', a weights file, or nothing.")
    ] = None,
    epochs: Annotated[int | None, typer.Option(help="Default: the configuration's.")] = None,
    seed: Annotated[int, typer.Option(help="Repeats the same random choices.")] = 0,
    approval: Annotated[bool, typer.Option(help="Wait for `hone release` by a person.")] = False,
    annotators: Answering = Annotators.label_studio,
) -> None:
    """Train a challenger, judge it against the champion, release the winner."""
    with single_run():
        from flows.retrain import retrain as run
        from models.network.network import NetworkConfig
        from models.training.config import TrainConfig

        config = TrainConfig(seed=seed)
        if epochs is not None:
            config = replace(config, epochs=epochs)
        run(
            snapshot,
            NetworkConfig(backbone=backbone, weights=weights),
            config,
            approval="person" if approval else "verdict",
            annotators=annotators.value,
        )


@app.command(rich_help_panel=PANEL)
def distill(
    backbone: Annotated[
        str, typer.Option(help="A small one of torchvision, or efficientnet_lite0.")
    ] = "mobilenet_v3_small",
    weights: Annotated[
        str | None, typer.Option(help="'default', a weights file, or nothing.")
    ] = None,
    epochs: Annotated[int | None, typer.Option(help="Default: the configuration's.")] = None,
    seed: Annotated[int, typer.Option(help="Repeats the same random choices.")] = 0,
    most: Annotated[int, typer.Option(min=1, help="Unlabelled samples, at most.")] = 20_000,
    front_only: Annotated[
        bool, typer.Option("--front-only", help="Without a verdict: for `hone cascade`.")
    ] = False,
    annotators: Answering = Annotators.label_studio,
) -> None:
    """Train a small student on the champion's outputs for the pool and the labels; judge it."""
    with single_run():
        from flows.distill import distill as run
        from models.network.network import NetworkConfig
        from models.training.config import TrainConfig

        config = TrainConfig(seed=seed, soft_weight=0.9, fine_tune="full")
        if epochs is not None:
            config = replace(config, epochs=epochs)
        run(
            NetworkConfig(backbone=backbone, weights=weights),
            config,
            most=most,
            front_only=front_only,
            annotators=annotators.value,
        )


@app.command(rich_help_panel=PANEL)
def verdict(
    verdict_id: Annotated[str | None, typer.Argument(help="Default: the newest.")] = None,
    recompute: Annotated[
        bool, typer.Option("--recompute", help="Make it anew from the record, and compare.")
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Show a verdict: outcome, why, what would change it, and every criterion."""
    from tasks.context import open_context
    from tasks.operate import verdicts

    engine = open_context().engine
    if recompute:
        again = verdicts.recompute(engine, verdict_id)
        typer.echo(again.content.decode())
        for line in again.differences:
            typer.echo(f"differs: {line}", err=True)
        if again.differences:
            raise typer.Exit(1)
        typer.echo(f"{again.verdict_id}: the same bytes as recorded", err=True)
        return
    row = verdicts.verdict_row(engine, verdict_id)
    if as_json:
        echo_json(row)
    else:
        verdicts.show_verdict(row)


@app.command(rich_help_panel=PANEL)
def release(
    version: str,
    who: Who,
    why: Why,
) -> None:
    """Put a version into service on a named person's decision, whatever the verdict."""
    from tasks.operate.release import package_champion, release_by_hand

    _echo(release_by_hand(version, who=who, why=why))
    typer.echo(f"packaged as {package_champion()}")


@app.command(rich_help_panel=PANEL)
def shadow(
    who: Who,
    why: Why,
    version: Challenger = None,
    off: Annotated[bool, typer.Option("--off", help="End the shadow.")] = False,
) -> None:
    """Let a version answer beside the champion, compared and never shown."""
    _challenge(version, "shadow", 0.0, off, who, why)


@app.command(rich_help_panel=PANEL)
def canary(
    who: Who,
    why: Why,
    version: Challenger = None,
    share: Annotated[float, typer.Option(help="Percent of the clients, from 1 to 50.")] = 5.0,
    off: Annotated[bool, typer.Option("--off", help="End the canary.")] = False,
) -> None:
    """Let a version answer a share of the clients, always the same ones."""
    _challenge(version, "canary", share, off, who, why)


@app.command(rich_help_panel=PANEL)
def rollback(
    who: Who,
    why: Why,
    to: Annotated[
        str | None,
        typer.Option(help="Any version that was released; default: the last one that stands."),
    ] = None,
) -> None:
    """Put an earlier version into service again, alone."""
    from tasks.operate.release import package_champion, roll_back_by_hand

    _echo(roll_back_by_hand(to, who=who, why=why))
    typer.echo(f"packaged as {package_champion()}")


def _challenge(version: str | None, mode: str, share: float, off: bool, who: str, why: str) -> None:
    from models.registry.releases import Mode
    from tasks.operate.release import challenge_by_hand, end_by_hand

    if off == (version is not None):
        raise ValueError(f"`hone {mode}` needs a version, or --off to end the {mode}; give one")
    if version is None:
        _echo(end_by_hand(Mode(mode), who=who, why=why))
    else:
        _echo(challenge_by_hand(version, Mode(mode), share, who=who, why=why))


def _echo(change: "Change") -> None:
    for line in change.lines():
        typer.echo(printable(line))


@app.command(rich_help_panel=PANEL)
def budget(
    worth: Annotated[
        float | None,
        typer.Option(help="Most to pay for a percentage point of accuracy; default: no limit."),
    ] = None,
    least_gain: Annotated[
        float, typer.Option(help="Accuracy that 500 labels must add to be worth asking for.")
    ] = 0.01,
    labels: Annotated[
        int | None,
        typer.Option(min=0, help="Grant so many more labels: a drift asks for none beyond."),
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Report what the next labels would add and cost, and whether to go on; or grant labels."""
    if labels is not None:
        from tasks.context import open_context
        from tasks.report.label_budget import grant_labels

        grant_labels(open_context(), labels)
        typer.echo(f"{labels} more labels may be asked for")
        return
    from labeling.budget.learning_curve import BudgetPolicy
    from tasks.report.budget import budget_report
    from tasks.report.budget_view import show_budget

    report = budget_report(BudgetPolicy(least_gain=least_gain, worth=worth))
    if as_json:
        echo_json(report)
    else:
        show_budget(report)


@app.command(rich_help_panel=PANEL)
def trace(prediction_id: str, as_json: AsJson = False) -> None:
    """Trace a served prediction back to image, model, snapshot, label and annotators."""
    from tasks.context import open_context
    from tasks.operate.trace import trace as trace_prediction
    from tasks.operate.trace_view import show_trace

    traced = trace_prediction(open_context().engine, prediction_id)
    if as_json:
        echo_json(traced)
    else:
        show_trace(traced)
