"""Commands about a workspace: make it, fill it, see how it stands."""

import os
from pathlib import Path
from typing import Annotated

import typer

from flows.cli.options import AsJson, echo_json, single_run

PANEL = "Workspace"
app = typer.Typer()


@app.command(rich_help_panel=PANEL)
def init(
    folder: Annotated[Path, typer.Argument(help="Where the workspace is made.")],
    classes: Annotated[str, typer.Option(help="Class names, separated by commas.")],
    title: Annotated[
        str, typer.Option(help="What annotators see; default: the folder's name.")
    ] = "",
    purpose: Annotated[str, typer.Option(help="One line: what the labels are for.")] = "",
    image_size: Annotated[int, typer.Option(help="Side of the model's input, in pixels.")] = 224,
    remote: Annotated[str | None, typer.Option(help="DVC remote; default: a local folder.")] = None,
) -> None:
    """Make a workspace: git, DVC with a remote, database, hone.toml."""
    from core.workspace import init_workspace
    from tasks.policies import policies_toml

    made = init_workspace(
        folder,
        [name.strip() for name in classes.split(",")],
        title=title,
        purpose=purpose,
        image_size=image_size,
        remote=remote,
        policies=policies_toml(),
    )
    os.environ["HONE_WORKSPACE"] = str(made.root)
    from tasks.context import open_context

    open_context()  # makes the database
    typer.echo(f"workspace {made.root} with {len(made.classes)} classes; next: hone ingest PATH")


@app.command(rich_help_panel=PANEL)
def ingest(
    paths: Annotated[list[Path] | None, typer.Argument(help="Folders or files.")] = None,
    processes: Annotated[int | None, typer.Option(min=1, help="Default: one a core.")] = None,
    metadata: Annotated[
        Path | None,
        typer.Option(help="A CSV file: an image in each line, and columns that verdicts look at."),
    ] = None,
) -> None:
    """Take in images: folders, recursively; also what the service was sent."""
    with single_run():
        from flows.ingest_images import ingest_images

        folders = [str(path.expanduser().resolve()) for path in paths or []]
        table = str(metadata.expanduser().resolve()) if metadata else None
        ingest_images(folders or None, processes, table)


@app.command(rich_help_panel=PANEL)
def status(as_json: AsJson = False) -> None:
    """Show how the loop stands and what to do next."""
    from tasks.context import open_context
    from tasks.operate.status import load_status
    from tasks.operate.status_view import show_status

    ctx = open_context()
    status = load_status(ctx)
    if as_json:
        echo_json(status.as_json())
    else:
        show_status(status, f"{ctx.workspace.title}  {ctx.workspace.root}")


@app.command(rich_help_panel=PANEL)
def refused(
    reason: Annotated[
        str | None, typer.Option(help="One reason only, as `hone status` names it.")
    ] = None,
    limit: Annotated[int, typer.Option(min=1, help="At most so many, the newest.")] = 20,
    answers: Annotated[
        bool, typer.Option("--answers", help="Answers of annotators instead of files.")
    ] = False,
    as_json: AsJson = False,
) -> None:
    """List the files that were refused, newest first: path, reason, detail."""
    from tasks.context import open_context
    from tasks.operate import refused as listing

    ctx = open_context()
    list_refused = listing.refused_answers if answers else listing.refused_files
    rows = list_refused(ctx, reason, limit)
    if as_json:
        echo_json(rows)
    else:
        listing.show_refused(rows, listing.count_refused(ctx, reason=reason, answers=answers))
