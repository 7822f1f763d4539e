"""Commands that check and mend a workspace."""

from typing import Annotated

import typer

from core.text import printable
from flows.cli.options import AsJson, echo_json

PANEL = "Operation"
app = typer.Typer()


@app.command(rich_help_panel=PANEL)
def fsck(
    as_json: AsJson = False,
    mend: Annotated[
        bool, typer.Option("--repair", help="First restore what a copy still has.")
    ] = False,
) -> None:
    """Check every promise over database, stores and remotes; exit 1 when one is broken."""
    from tasks.operate.fsck import check

    if mend:
        from tasks.operate.mend import repair

        for lost in repair():
            typer.echo(printable(f"not mended: {lost}"), err=as_json)
    findings = check()
    if as_json:
        echo_json(findings)
    for one in [] if as_json else findings:
        typer.echo(printable(f"{one.promise}  {one.what}: {one.harm}; {one.remedy}"))
    if not findings and not as_json:
        typer.echo("every promise holds")
    raise typer.Exit(1 if findings else 0)
