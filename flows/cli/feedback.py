"""Commands about what became of served predictions: truths in, and how right the models were."""

from pathlib import Path
from typing import Annotated

import typer

from flows.cli.options import AsJson, echo_json

PANEL = "Models"
app = typer.Typer()


@app.command(rich_help_panel=PANEL)
def feedback(
    file: Annotated[Path, typer.Argument(help="CSV or parquet: prediction_id, truth, who, ...")],
    as_json: AsJson = False,
) -> None:
    """Take in truths about served predictions."""
    from tasks.feedback import import_feedback

    result = import_feedback(file)
    if as_json:
        echo_json(result.as_json())


@app.command(rich_help_panel=PANEL)
def performance(
    period: Annotated[str, typer.Option("--by", help="hour, day or week.")] = "day",
    last: Annotated[int, typer.Option(min=1, help="So many periods, the newest.")] = 14,
    model: Annotated[str | None, typer.Option(help="A version; default: the champion.")] = None,
    as_json: AsJson = False,
) -> None:
    """Show how right a model was where the truth is known: accuracy, F1, by class and source."""
    from tasks.context import open_context
    from tasks.operate.performance import load_performance, show_performance

    report = load_performance(open_context().engine, model, period=period, last=last)
    if as_json:
        echo_json(report.as_json())
    else:
        show_performance(report)
