"""Commands about labels: choose, collect, review, report, import and export."""

from pathlib import Path
from typing import Annotated, Any

import typer

from flows.cli.options import Annotators, Answering, AsJson, echo_json, single_run

PANEL = "Labels"
app = typer.Typer()


@app.command(rich_help_panel=PANEL)
def label(
    strategy: Annotated[str, typer.Option(help="How to choose; a wrong name lists them.")] = "auto",
    size: Annotated[int, typer.Option(help="Samples in the batch.")] = 50,
    audit_share: Annotated[float, typer.Option(help="Share for the audit, at least.")] = 0.1,
    random_share: Annotated[
        float, typer.Option(help="Probability that a place is filled at random.")
    ] = 0.05,
    relabel_share: Annotated[
        float, typer.Option(help="Share, at most, for doubtful labels.")
    ] = 0.0,
    balance: Annotated[bool, typer.Option(help="Predicted classes in equal parts.")] = False,
    named: Annotated[list[str] | None, typer.Option(help="A sample id that comes first.")] = None,
    gold_share: Annotated[
        float, typer.Option(help="Share with a known label, to check annotators.")
    ] = 0.05,
    blind_share: Annotated[
        float, typer.Option(help="Share shown without the pre-annotation.")
    ] = 0.1,
    overlap_share: Annotated[
        float, typer.Option(help="Share that several annotators answer.")
    ] = 0.0,
    overlap: Annotated[int, typer.Option(help="How many annotators that is.")] = 2,
    seed: Annotated[int, typer.Option(help="Repeats the same random choices.")] = 0,
    round_id: Annotated[str | None, typer.Option("--round", help="Default: the next.")] = None,
    annotators: Answering = Annotators.label_studio,
) -> None:
    """Choose the next batch and send it to the annotators."""
    with single_run():
        from flows.label_round import label_round
        from labeling.batches.quality_control import QualityControlConfig
        from labeling.batches.select import SelectionConfig

        selection = SelectionConfig(
            strategy=strategy,
            size=size,
            audit_share=audit_share,
            random_share=random_share,
            relabel_share=relabel_share,
            balance=balance,
            named=named or (),
        )
        queue = QualityControlConfig(gold_share, blind_share, overlap, overlap_share)
        label_round(round_id, selection, queue, seed, annotators=annotators.value)


@app.command(rich_help_panel=PANEL)
def collect(
    annotators: Answering = Annotators.label_studio,
    every: Annotated[int, typer.Option(help="Cut a snapshot after so many changed labels.")] = 50,
) -> None:
    """Fetch answers, settle labels, cut a snapshot."""
    with single_run():
        from flows.collect_labels import collect_labels

        collect_labels(annotators.value, every=every)


@app.command(rich_help_panel=PANEL)
def review(
    size: Annotated[int, typer.Option(min=1, help="Labels to ask again about, at most.")] = 20,
    seed: Annotated[int, typer.Option(help="Repeats the same random choices.")] = 0,
    annotators: Answering = Annotators.label_studio,
) -> None:
    """Send the labels that look wrong to the annotators again."""
    with single_run():
        from flows.review_labels import review_labels

        review_labels(size, seed, annotators.value)


@app.command(rich_help_panel=PANEL)
def annotators(as_json: AsJson = False) -> None:
    """Report how accurate and fast each annotator is, and how pre-annotations influence them."""
    from tasks.report import annotators, annotators_view

    report = annotators.annotators_report(*_ledger())
    if as_json:
        echo_json(report)
    else:
        annotators_view.show_annotators(report)


@app.command(rich_help_panel=PANEL)
def quality(as_json: AsJson = False) -> None:
    """Report how far annotators agree, and what is disputed or refused."""
    from tasks.report import annotators, annotators_view

    report = annotators.quality_report(*_ledger())
    if as_json:
        echo_json(report)
    else:
        annotators_view.show_quality(report)


@app.command("import", rich_help_panel=PANEL)
def import_(
    path: Annotated[Path, typer.Argument(help="CSV, COCO or Label Studio JSON, or folders.")],
    format: Annotated[
        str | None, typer.Option(help="csv, coco, folders or label-studio; default: detected.")
    ] = None,
    images: Annotated[
        Path | None, typer.Option(help="Folder with its images; default: that of the file.")
    ] = None,
    gold: Annotated[
        bool, typer.Option("--gold", help="Known truths, to check annotators.")
    ] = False,
    allow_outside: Annotated[
        bool, typer.Option("--allow-outside", help="Also take images outside that folder.")
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Take in labels that exist already, and the images they are about."""
    from tasks.exchange import import_labels

    facts = import_labels(
        path, format=format, images=images, gold=gold, allow_outside=allow_outside
    )
    if as_json:
        echo_json(facts)


@app.command(rich_help_panel=PANEL)
def export(
    target: Annotated[Path, typer.Argument(help="A new folder.")],
    format: Annotated[str, typer.Option(help="csv, coco, folders or label-studio.")] = "csv",
    snapshot: Annotated[str | None, typer.Option(help="Default: the newest.")] = None,
    images: Annotated[bool, typer.Option(help="Write the images, too.")] = True,
) -> None:
    """Write a snapshot in a format that other tools read."""
    from tasks.exchange import export_labels

    export_labels(target, format=format, snapshot=snapshot, images=images)


@app.command(rich_help_panel=PANEL)
def snapshots(as_json: AsJson = False) -> None:
    """List the snapshots."""
    from labeling.snapshots.publish import list_snapshots
    from tasks.context import open_context

    rows = list_snapshots(open_context().engine).to_dict("records")
    if as_json:
        echo_json(rows)
    for row in [] if as_json else rows:
        print_ = row["fingerprint"][:12]
        typer.echo(f"{row['name']}  {row['rows']:>7} rows  {print_}  {row['created_at']}")


@app.command(rich_help_panel=PANEL)
def webhook(
    port: Annotated[int, typer.Option(min=0, max=65535, help="On 127.0.0.1.")] = 3001,
) -> None:
    """Receive the calls of Label Studio's webhook: `collect` starts as soon as somebody answers."""
    from tasks.collect.webhook import serve_webhook

    serve_webhook(port)


def _ledger() -> tuple[Any, Any, list[str]]:
    """What a report is about: the ledger, the policy, the classes."""
    from tasks.context import open_context

    ctx = open_context()
    return ctx.engine, ctx.policies.settling, ctx.workspace.class_names
