"""The command line `hone`: parses, calls a flow, prints, sets the exit code."""

import json
import os
import sys
import tempfile
from dataclasses import replace
from pathlib import Path
from typing import Annotated, Any

import typer

from core.configuration import error_text
from flows.cli import budget, config, labeling
from flows.cli.options import Annotators, Answering, AsJson, quick_flows, single_run

app = typer.Typer(
    help="Hone sharpens a vision model with the labels that matter.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)


@app.callback()
def choose_workspace(
    workspace: Annotated[
        Path | None, typer.Option(help="The workspace; default: HONE_WORKSPACE, else this folder.")
    ] = None,
) -> None:
    """Say which workspace the command means."""
    if workspace is not None:
        os.environ["HONE_WORKSPACE"] = str(workspace.expanduser().resolve())


@app.command()
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


@app.command()
def ingest(
    paths: Annotated[list[Path] | None, typer.Argument(help="Folders or files.")] = None,
    processes: Annotated[int | None, typer.Option(min=1, help="Default: one a core.")] = None,
) -> None:
    """Take in images: folders, recursively; also what the service was sent."""
    with single_run():
        from flows.ingest_images import ingest_images

        ingest_images([str(path.expanduser().resolve()) for path in paths or []] or None, processes)


@app.command()
def label(
    strategy: Annotated[str, typer.Option(help="How to choose; a wrong name lists them.")] = "auto",
    size: Annotated[int, typer.Option(help="Samples in the batch.")] = 50,
    audit_share: Annotated[float, typer.Option(help="Share drawn at random for the audit.")] = 0.1,
    random_share: Annotated[float, typer.Option(help="Chance of a place to be drawn.")] = 0.05,
    relabel_share: Annotated[float, typer.Option(help="At most, for labels in doubt.")] = 0.0,
    balance: Annotated[bool, typer.Option(help="Predicted classes in equal parts.")] = False,
    named: Annotated[list[str] | None, typer.Option(help="A sample id that comes first.")] = None,
    gold_share: Annotated[float, typer.Option(help="Known ones mixed in, to check people.")] = 0.05,
    blind_share: Annotated[float, typer.Option(help="Share shown without the guess.")] = 0.1,
    overlap_share: Annotated[float, typer.Option(help="Share that several people see.")] = 0.0,
    overlap: Annotated[int, typer.Option(help="How many people that is.")] = 2,
    seed: int = 0,
    round_id: Annotated[str | None, typer.Option("--round", help="Default: the next.")] = None,
    annotators: Answering = Annotators.label_studio,
) -> None:
    """Choose the next batch and put it before the annotators."""
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


@app.command()
def collect(
    annotators: Answering = Annotators.label_studio,
    every: Annotated[int, typer.Option(help="Cut a snapshot after so many changed labels.")] = 50,
) -> None:
    """Fetch answers, settle labels, cut a snapshot."""
    with single_run():
        from flows.collect_labels import collect_labels

        collect_labels(annotators.value, every=every)


@app.command()
def retrain(
    snapshot: Annotated[str | None, typer.Option(help="Default: the newest.")] = None,
    backbone: Annotated[str, typer.Option(help="A torchvision classification model.")] = "resnet18",
    weights: Annotated[
        str | None, typer.Option(help="'default', a weights file, or nothing.")
    ] = None,
    epochs: Annotated[int | None, typer.Option(help="Default: the configuration's.")] = None,
    seed: int = 0,
    approval: Annotated[bool, typer.Option(help="Wait for `hone release` by a person.")] = False,
) -> None:
    """Train a challenger, judge it against the champion, release the winner."""
    with single_run():
        from flows.retrain import retrain as run
        from models.network.network import NetworkConfig
        from models.training.train import TrainConfig

        config = TrainConfig(seed=seed)
        if epochs is not None:
            config = replace(config, epochs=epochs)
        run(
            snapshot,
            NetworkConfig(backbone=backbone, weights=weights),
            config,
            approval="person" if approval else "verdict",
        )


@app.command()
def watch(
    window: Annotated[int | None, typer.Option(help="Predictions in one window.")] = None,
) -> None:
    """Check the served traffic for drift and decide."""
    with single_run():
        from flows.watch_traffic import watch_traffic
        from tasks.context import open_context

        policy = open_context().policies.watch
        watch_traffic(None if window is None else replace(policy, window=window))


@app.command()
def status(as_json: AsJson = False) -> None:
    """Say how the loop stands."""
    from tasks.context import open_context
    from tasks.operate.status import status as look

    _show(look(open_context().engine), as_json)


@app.command()
def snapshots(as_json: AsJson = False) -> None:
    """List the snapshots."""
    from labeling.snapshots.publish import list_snapshots
    from tasks.context import open_context

    rows = list_snapshots(open_context().engine).to_dict("records")
    if as_json:
        typer.echo(json.dumps(rows))
    for row in [] if as_json else rows:
        print_ = row["fingerprint"][:12]
        typer.echo(f"{row['name']}  {row['rows']:>7} rows  {print_}  {row['created_at']}")


@app.command()
def trace(prediction_id: str, as_json: AsJson = False) -> None:
    """Trace a served prediction back to image, model, snapshot, label and annotators."""
    from tasks.context import open_context
    from tasks.operate.status import trace as follow

    _show(follow(open_context().engine, prediction_id), as_json)


@app.command()
def release(
    version: str,
    who: Annotated[str, typer.Option(help="The person who takes responsibility.")],
    why: Annotated[str, typer.Option(help="The reason, kept for good.")],
) -> None:
    """Put a version into service by a named person's word, whatever the verdict."""
    from tasks.retrain.release import release_by_hand

    release_by_hand(version, who=who, why=why)
    typer.echo(f"{version} is in service, by {who}")


@app.command()
def fsck(
    as_json: AsJson = False,
    mend: Annotated[
        bool, typer.Option("--repair", help="First mend what copies can mend.")
    ] = False,
) -> None:
    """Check every promise over database, stores and remotes; exit 1 when one is broken."""
    from tasks.operate.fsck import check, repair

    if mend:
        repair()
    found = check()
    if as_json:
        typer.echo(json.dumps([problem.__dict__ for problem in found]))
    for problem in [] if as_json else found:
        typer.echo(f"{problem.promise}  {problem.what}: {problem.remedy}")
    if not found and not as_json:
        typer.echo("every promise holds")
    raise typer.Exit(1 if found else 0)


@app.command()
def demo(
    as_json: AsJson = False,
    studio: Annotated[
        bool, typer.Option("--studio", help="A person answers in Label Studio.")
    ] = False,
    seed: int = 0,
    folder: Annotated[Path | None, typer.Option(help="Default: a new folder hone-demo-...")] = None,
) -> None:
    """Run the whole loop on scikit-learn's handwritten digits."""
    home = (folder or Path(tempfile.mkdtemp(prefix="hone-demo-"))).expanduser().resolve()
    if home.exists() and any(home.iterdir()):
        raise ValueError(f"{home} is not empty; name a new folder for the demo")
    (home / "prefect").mkdir(parents=True, exist_ok=True)
    os.environ["HONE_WORKSPACE"] = str(home / "workspace")
    os.environ |= {"PREFECT_HOME": str(home / "prefect"), "PREFECT_LOGGING_LEVEL": "WARNING"}
    os.environ.pop("PREFECT_API_URL", None)  # the demo leaves nothing in anybody's server
    from flows.run_demo import run_demo

    with quick_flows():
        facts = run_demo(home, seed, studio)
    if as_json:
        typer.echo(json.dumps(facts, default=str))


def _show(facts: dict[str, Any], as_json: bool) -> None:
    if as_json:
        typer.echo(json.dumps(facts, default=str))
        return
    for key, value in facts.items():
        text = json.dumps(value, indent=2, default=str) if isinstance(value, dict | list) else value
        typer.echo(f"{key}: {text}")


app.add_typer(labeling.app)
app.add_typer(budget.app)
app.add_typer(config.app)


def main() -> None:
    """Run a command; an error of ours is one line on standard error and exit code 1."""
    for name, value in QUIET.items():
        os.environ.setdefault(name, value)
    try:
        app()
    except Exception as error:
        if os.environ.get("HONE_TRACEBACK") or not _is_of_the_world(error):
            raise
        typer.echo(f"hone: {error_text(error)}", err=True)
        sys.exit(1)


def _is_of_the_world(error: Exception) -> bool:
    """Whether an error is about what was given or what answers, not a mistake of the program."""
    servers = ("httpx", "httpcore", "sqlalchemy", "prefect")
    return (
        isinstance(error, ValueError | RuntimeError | OSError)
        or type(error).__module__.partition(".")[0] in servers
    )


# no tool of ours reports to anybody unless its user says so
QUIET = {
    "DO_NOT_TRACK": "1",
    "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
    "BENTOML_DO_NOT_TRACK": "True",
    "DVC_NO_ANALYTICS": "1",
    "WANDB_SILENT": "true",
    "PREFECT_LOGGING_LEVEL": "INFO",
}
