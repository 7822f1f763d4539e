"""The command that lists alerts and tests the channels."""

from enum import StrEnum
from typing import Annotated

import typer

from core.text import printable
from flows.cli.options import AsJson, echo_json

PANEL = "Operation"
app = typer.Typer()


class AlertAction(StrEnum):
    """What `hone alerts` does beside listing."""

    test = "test"


@app.command(rich_help_panel=PANEL)
def alerts(
    action: Annotated[
        AlertAction | None, typer.Argument(help="'test' sends each channel a message now.")
    ] = None,
    limit: Annotated[int, typer.Option(min=1, help="At most so many, the newest.")] = 20,
    as_json: AsJson = False,
) -> None:
    """List the alerts and what became of their messages; `test` exits 1 when a channel fails."""
    from tasks.context import alert_channels, open_context
    from tasks.watch import alerts_view
    from tasks.watch.send import send_test

    ctx = open_context()
    if action is None:
        lists = alerts_view.alert_lists(ctx, limit)
        if as_json:
            echo_json(lists)
        else:
            names = [channel.name for channel in alert_channels(ctx.settings)]
            alerts_view.show_alerts(lists, names)
        return
    outcomes = send_test(ctx)
    if as_json:
        echo_json([{"channel": name, "error": error} for name, error in outcomes])
    for name, error in [] if as_json else outcomes:
        typer.echo(printable(f"{name}: {error or 'took the message'}"))
    raise typer.Exit(1 if any(error for _, error in outcomes) else 0)
