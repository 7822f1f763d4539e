"""A small workspace with real images and simulated annotators, and one round played in it."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

from sqlalchemy import Executable, select, text

from core.database import connect, upgrade, writing
from core.workspace import Workspace, init_workspace
from labeling import simulation
from labeling.audit.membership import set_key
from labeling.ledger.tables import answers, assignments, audit, labels, rounds, samples, snapshots
from models.registry.releases import releases
from models.registry.versions import models, verdicts
from tasks.demo import digits

PEOPLE = [simulation.Annotator("ada", 0.05), simulation.Annotator("ben", 0.05)]


def make_world(folder: Path, *, images: int = 120) -> Workspace:
    """A workspace, `images` handwritten digits beside it, and people who know what they show.

    Of so few images a larger share is for the audit, and the same ones in every run.
    """
    workspace = init_workspace(
        folder / "workspace", [str(n) for n in range(10)], title="Digits", image_size=8,
        policies="[audit]\nshare = 0.4\n",
    )  # fmt: skip
    engine = connect(os.environ.get("HONE_DATABASE_URL", workspace.database))
    upgrade(engine)
    with writing(engine) as connection:
        set_key(connection, b"the same in every run")
    engine.dispose()
    chosen = digits.load_digits(seed=0)[0][:images]
    digits.write_digits(folder / "images", chosen)
    simulation.save_simulation(workspace.root, digits.truth_table(chosen), PEOPLE, seed=0)
    return workspace


def environment(workspace: Workspace, **more: str) -> dict[str, str]:
    """The environment of a command that works in this workspace."""
    return os.environ | {"HONE_WORKSPACE": str(workspace.root), "HONE_THREADS": "1", **more}


def hone(
    workspace: Workspace, *words: str, check: bool = True, **more: str
) -> subprocess.CompletedProcess[str]:
    """Run the command line as a person would."""
    ended = subprocess.run(
        [sys.executable, "-m", "flows", *words],
        env=environment(workspace, **more),
        capture_output=True,
        text=True,
        check=False,
        timeout=280,
    )
    if check:
        check_status(ended)
    return ended


def check_status(ended: subprocess.CompletedProcess[str]) -> None:
    """An error with the output of a command that failed."""
    if ended.returncode:
        words = " ".join(ended.args)
        raise AssertionError(f"{words}: {ended.returncode}\n{ended.stdout}\n{ended.stderr}")


def run_script(
    workspace: Workspace, script: str, *words: str, **more: str
) -> subprocess.CompletedProcess[str]:
    """Run a script of the tests in a process of its own."""
    return subprocess.run(
        [sys.executable, "-m", script, *words],
        env=environment(workspace, **more),
        capture_output=True,
        text=True,
        check=False,
        timeout=1_500,
    )


def ledger(url: str) -> dict[str, Any]:
    """What the ledger says, without what differs between two runs: times, tokens, outside names."""
    engine = connect(url)
    wanted: dict[str, Executable] = {
        "samples": select(samples.c.sample_id, samples.c.stored_sha256, samples.c.group_id),
        "rounds": select(
            rounds.c.round_id,
            rounds.c.strategy,
            rounds.c.seed,
            rounds.c.config,
            rounds.c.sent_at.is_not(None),
            rounds.c.closed_at.is_not(None),
        ),
        "assignments": select(
            assignments.c.round_id,
            assignments.c.sample_id,
            assignments.c.position,
            assignments.c.reason,
            assignments.c.outcome,
        ),
        "audit": select(audit.c.sample_id, audit.c.inclusion_probability),
        "answers": select(answers.c.sample_id, answers.c.annotator, answers.c.value).where(
            answers.c.replaced_at.is_(None)
        ),
        "labels": select(
            labels.c.sample_id, labels.c.label, labels.c.annotators, labels.c.trust
        ).where(labels.c.replaced_at.is_(None)),
        "snapshots": select(snapshots.c.name, snapshots.c.rows),
        "models": select(models.c.snapshot, models.c.seed, models.c.config),
        "verdicts": select(verdicts.c.snapshot, verdicts.c.outcome, verdicts.c.rows_fingerprint),
        "releases": select(releases.c.number, releases.c.who),
        "open intents": text("SELECT kind, key FROM intents WHERE confirmed_at IS NULL"),
    }
    with engine.connect() as connection:
        found = {
            name: sorted(map(repr, connection.execute(query))) for name, query in wanted.items()
        }
    engine.dispose()
    return found


def as_json(done: subprocess.CompletedProcess[str]) -> Any:
    """The JSON on the last line that a command printed."""
    return json.loads(done.stdout.strip().splitlines()[-1])
