"""The commands about annotators, and those that carry labels in and out."""

import json
from pathlib import Path
from typing import Annotated, Any

import typer

from flows.cli.options import Annotators, Answering, AsJson, single_run

app = typer.Typer()


@app.command()
def annotators(as_json: AsJson = False) -> None:
    """Say how good and how fast each annotator is, and how far the guesses lead them."""
    from tasks.report import annotators, annotators_view

    report = annotators.annotators_report(*_asked())
    if as_json:
        typer.echo(json.dumps(report))
    else:
        annotators_view.show_annotators(report)


@app.command()
def quality(as_json: AsJson = False) -> None:
    """Say how far annotators agree, and what is disputed or refused."""
    from tasks.report import annotators, annotators_view

    report = annotators.quality_report(*_asked())
    if as_json:
        typer.echo(json.dumps(report))
    else:
        annotators_view.show_quality(report)


@app.command()
def review(
    size: Annotated[int, typer.Option(min=1, help="Labels to look at again, at most.")] = 20,
    seed: int = 0,
    annotators: Answering = Annotators.label_studio,
) -> None:
    """Put the labels that look wrong before annotators a second time."""
    with single_run():
        from flows.review_labels import review_labels

        review_labels(size, seed, annotators.value)


@app.command()
def webhook(
    port: Annotated[int, typer.Option(min=0, max=65535, help="On 127.0.0.1.")] = 3001,
) -> None:
    """Wake `collect` as soon as somebody answered: Label Studio calls this when it happens."""
    from tasks.collect.webhook import serve_webhook

    serve_webhook(port)


@app.command("import")
def import_(
    path: Annotated[Path, typer.Argument(help="CSV, COCO or Label Studio JSON, or folders.")],
    format: Annotated[
        str | None, typer.Option(help="csv, coco, folders or label-studio; default: as it looks.")
    ] = None,
    images: Annotated[
        Path | None, typer.Option(help="Where its images lie; default: beside it.")
    ] = None,
    gold: Annotated[bool, typer.Option("--gold", help="Known truths, to check people.")] = False,
    as_json: AsJson = False,
) -> None:
    """Take in labels that exist already, and the images they are about."""
    from tasks.exchange import import_labels

    facts = import_labels(path, format=format, images=images, gold=gold)
    if as_json:
        typer.echo(json.dumps(facts))


@app.command()
def export(
    target: Annotated[Path, typer.Argument(help="A new folder.")],
    format: Annotated[str, typer.Option(help="csv, coco, folders or label-studio.")] = "csv",
    snapshot: Annotated[str | None, typer.Option(help="Default: the newest.")] = None,
    images: Annotated[bool, typer.Option(help="Write the images, too.")] = True,
) -> None:
    """Write a snapshot in a form that other tools read."""
    from tasks.exchange import export_labels

    export_labels(target, format=format, snapshot=snapshot, images=images)


def _asked() -> tuple[Any, Any, list[str]]:
    """What a report is about: the ledger, the policy, the classes."""
    from tasks.context import open_context

    ctx = open_context()
    return ctx.engine, ctx.policies.settling, ctx.workspace.class_names
