"""The command that runs the whole loop on handwritten digits."""

import os
import tempfile
from pathlib import Path
from typing import Annotated

import typer

from flows.cli.options import AsJson, echo_json, quick_flows

PANEL = "Workspace"
app = typer.Typer()


@app.command(rich_help_panel=PANEL)
def demo(
    as_json: AsJson = False,
    studio: Annotated[
        bool, typer.Option("--studio", help="A person answers in Label Studio.")
    ] = False,
    seed: Annotated[int, typer.Option(help="Repeats the same random choices.")] = 0,
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
    typer.echo("starting a temporary Prefect server; it takes some seconds, longer when busy")
    from flows.run_demo import run_demo
    from tasks.demo.watching import channel

    os.environ["HONE_ALERTS"] = channel(home)  # and sends nothing to anybody's channels
    with quick_flows():
        facts = run_demo(home, seed, studio)
    if as_json:
        echo_json(facts)
