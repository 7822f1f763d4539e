"""The command that says what more labels would bring."""

import json
from typing import Annotated

import typer

from flows.cli.options import AsJson

app = typer.Typer()


@app.command()
def budget(
    worth: Annotated[
        float | None, typer.Option(help="What a point of accuracy may cost; default: no limit.")
    ] = None,
    least_gain: Annotated[
        float, typer.Option(help="Accuracy that 500 labels must add to be worth asking for.")
    ] = 0.01,
    as_json: AsJson = False,
) -> None:
    """Say what the next labels would add and cost, and whether to go on."""
    from labeling.budget.learning_curve import BudgetPolicy
    from tasks.report.budget import budget_report
    from tasks.report.budget_view import show_budget

    report = budget_report(BudgetPolicy(least_gain=least_gain, worth=worth))
    if as_json:
        typer.echo(json.dumps(report))
    else:
        show_budget(report)
