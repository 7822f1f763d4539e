"""Commands that check and mend a workspace."""

from getpass import getuser
from pathlib import Path
from typing import Annotated

import typer

from core.text import counted, printable
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


@app.command(rich_help_panel=PANEL)
def erase(
    ids: Annotated[list[str], typer.Argument(help="Predictions, or samples, by their ids.")],
    why: Annotated[str, typer.Option(help="The reason, for the record.")],
    who: Annotated[str, typer.Option(help="Who asks for it; default: this account.")] = "",
) -> None:
    """Delete images for good: from the traffic, the samples, DVC's cache and the remote."""
    from tasks.context import open_context
    from tasks.erasure import erase_named

    done = erase_named(open_context(), ids, who=who or getuser(), why=why)
    where = f"{counted(done.samples, 'sample')} among them"
    before = f"; {counted(done.before, 'image')} erased before" if done.before else ""
    typer.echo(f"{counted(done.images, 'image')} erased, {where}{before}")
    for problem in done.left:
        typer.echo(printable(f"an erased image is not gone yet: {problem}"), err=True)
    raise typer.Exit(1 if done.left else 0)


@app.command(rich_help_panel=PANEL)
def metrics(
    port: Annotated[
        int | None, typer.Option(min=0, max=65535, help="Serve /metrics here; else print it once.")
    ] = None,
    host: Annotated[
        str, typer.Option(help="The address; others than this machine need HONE_SERVICE_TOKEN.")
    ] = "127.0.0.1",
) -> None:
    """Show how the loop stands in the text format of Prometheus, once or to its scrapes."""
    if port is not None:
        from tasks.operate.metrics_server import serve_metrics

        serve_metrics(host, port)
        return
    from tasks.context import open_context
    from tasks.operate.metrics import exposition

    typer.echo(exposition(open_context()), nl=False)


@app.command(rich_help_panel=PANEL)
def report(
    out: Annotated[
        Path | None, typer.Option(help="The file; default: reports/report.html in the workspace.")
    ] = None,
    days: Annotated[
        int, typer.Option(min=1, max=366, help="How far the parts about traffic look back.")
    ] = 30,
) -> None:
    """Write how everything stands as one HTML page, which loads nothing from elsewhere."""
    from tasks.context import open_context
    from tasks.report.html.page import write_report

    path = write_report(open_context(), out, days=days)
    typer.echo(printable(f"{path} ({path.stat().st_size:,} bytes)"))
