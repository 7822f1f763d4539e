"""The app of the command `hone`, and what becomes of an error."""

import gc
import os
import sys
import warnings
from pathlib import Path
from typing import Annotated

import typer

from core.access import keep_others_out
from core.configuration import error_text
from core.text import printable
from flows.cli import (
    alerts,
    cascade,
    config,
    demo,
    feedback,
    labeling,
    models,
    operate,
    watching,
    workspace,
)

app = typer.Typer(
    help="Hone improves a vision model with the labels that matter most.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
for group in (
    workspace,
    config,
    labeling,
    models,
    cascade,
    watching,
    feedback,
    operate,
    alerts,
    demo,
):
    app.add_typer(group.app)

# No tool reports to anybody unless its user says so.
QUIET = {
    "DO_NOT_TRACK": "1",
    "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
    "BENTOML_DO_NOT_TRACK": "True",
    "DVC_NO_ANALYTICS": "1",
    "WANDB_SILENT": "true",
    "PREFECT_LOGGING_LEVEL": "INFO",
    # the demo's temporary server: 6 s on a quiet machine, longer than Prefect's 20 s on a busy one
    "PREFECT_SERVER_EPHEMERAL_STARTUP_TIMEOUT_SECONDS": "300",
}
NEW_OBJECTS = 20_000  # until garbage is looked for; Python's 700 take 0.4 s of a flow's imports
SERVERS = ("httpx", "httpcore", "sqlalchemy", "prefect")  # packages whose errors name what is away


@app.callback()
def choose_workspace(
    folder: Annotated[
        Path | None,
        typer.Option(
            "--workspace", help="The workspace; default: HONE_WORKSPACE, else this folder."
        ),
    ] = None,
) -> None:
    """Choose the workspace that the command works in."""
    if folder is not None:
        os.environ["HONE_WORKSPACE"] = str(folder.expanduser().resolve())


def main() -> None:
    """Run a command; a user's error is one line on standard error and exit code 1."""
    gc.set_threshold(NEW_OBJECTS, 10, 10)
    keep_others_out()
    for name, value in QUIET.items():
        os.environ.setdefault(name, value)
    wants_traceback = bool(os.environ.get("HONE_TRACEBACK"))
    if not wants_traceback:
        warnings.simplefilter("ignore", DeprecationWarning)
        warnings.simplefilter("ignore", FutureWarning)
    try:
        app()
    except Exception as error:
        if wants_traceback or not is_user_error(error):
            raise
        typer.echo(printable(f"hone: {error_text(error)}"), err=True)
        sys.exit(1)


def is_user_error(error: Exception) -> bool:
    """Whether an error comes from what was given or from a server, not from a mistake in Hone."""
    return (
        isinstance(error, ValueError | RuntimeError | OSError)
        or type(error).__module__.partition(".")[0] in SERVERS
    )
