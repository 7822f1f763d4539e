"""Commands about a small model before the champion: what it would save, set it, end it."""

from dataclasses import asdict
from typing import Annotated

import typer

from flows.cli.options import AsJson, echo_json

PANEL = "Models"
app = typer.Typer()
group = typer.Typer(no_args_is_help=True)
app.add_typer(group, name="cascade", rich_help_panel=PANEL)

Who = Annotated[str, typer.Option(help="The person who takes responsibility.")]
Why = Annotated[str, typer.Option(help="The reason, kept for good.")]


@group.callback()
def cascade() -> None:
    """A small model in front answers what it is sure of, the champion the rest."""


@group.command(rich_help_panel=PANEL)
def plan(
    front: Annotated[
        list[str] | None,
        typer.Option(help="A version; given twice, side by side. Default: the newest that fits."),
    ] = None,
    loss: Annotated[float, typer.Option(help="Accuracy that may be lost at most.")] = 0.01,
    price_per_hour: Annotated[
        list[float] | None,
        typer.Option(help="Of one core, in your money; given twice, two prices. Default: 0.04."),
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Show accuracy, share escalated, time and money of each threshold, and choose one."""
    from tasks.operate.cascade import plan_cascades
    from tasks.report.cascade_view import show_plans

    prices = price_per_hour or [0.04]
    if min(prices) < 0:
        raise ValueError(f"a price is {min(prices)}; give money per hour, 0 or more")
    plans = plan_cascades(front or [], loss=loss)
    if as_json:
        echo_json([asdict(one) for one in plans])
    else:
        show_plans(plans, prices)


@group.command("set", rich_help_panel=PANEL)
def set_front(
    front: Annotated[str, typer.Option(help="The version that answers first.")],
    threshold: Annotated[
        float, typer.Option(min=0, max=1, help="Confidence from which its answer is given.")
    ],
    who: Who,
    why: Why,
) -> None:
    """Let a front model answer what it is sure of; the service follows within two seconds."""
    from tasks.operate.cascade import set_cascade

    number = set_cascade(front, threshold, who=who, why=why)
    typer.echo(f"{front} answers from {threshold:g} (release {number}), by {who}")


@group.command(rich_help_panel=PANEL)
def off(who: Who, why: Why) -> None:
    """Let the champion answer everything again."""
    from tasks.operate.cascade import end_cascade

    number = end_cascade(who=who, why=why)
    typer.echo(f"the champion answers alone (release {number}), by {who}")
