"""The pieces of the demo: the workspace it plays in, its progress lines, and its last page."""

import time
from collections.abc import Iterator, Sequence
from concurrent.futures import Executor, Future
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import pandas as pd
from rich.console import Console
from rich.table import Table

from core.database import writing
from core.files import write_atomically
from core.workspace import init_workspace
from labeling import simulation
from labeling.audit.membership import audit_groups, set_key
from labeling.audit.numbers import Part
from labeling.audit.rows import of_part
from labeling.batches.select import SelectionConfig
from labeling.consensus.settle import SettlePolicy
from labeling.ledger.overview import labelled_samples, ledger_counts
from labeling.ledger.reasons import Origin
from labeling.ledger.samples import load_samples
from labeling.quality.student import TrainPolicy
from labeling.snapshots.publish import SnapshotConfig, load_snapshot
from models.network.network import NetworkConfig
from models.registry import releases
from models.registry.overview import newest_verdict
from models.serving.prediction_store import first_prediction
from models.training.config import TrainConfig
from tasks.context import open_context
from tasks.demo import digits, servers
from tasks.demo.duel_cost import duel_cost
from tasks.demo.random_baseline import baseline_accuracy, baseline_table, label_random
from tasks.operate.status import runtime_of
from tasks.operate.trace import Trace
from tasks.operate.trace_view import show_trace
from tasks.policies import Policies, policies_toml
from tasks.predictions import load_version

AUDIT, FIRST, BATCH, ROUNDS = 200, 50, 50, 3  # the standing audit of the digits has some 220
PERSON_BATCH = 10
CLEAN, SHIFTED, SCORED = 200, 300, 200  # images held back: two windows, and the scoring
DRIFT_BATCH, DRIFT_AUDIT = 150, 50
ANNOTATORS = [simulation.Annotator("ada", 0.05), simulation.Annotator("ben", 0.05)]


@dataclass(frozen=True)
class Recipe:
    """How everything in the demo is chosen, settled, trained and judged, also at random."""

    seed: int
    image_size: int = 8  # what scikit-learn has; the files are larger for people's eyes
    network: NetworkConfig = field(default_factory=NetworkConfig)
    # both people answer everything: of two with 5 % errors each, one alone would be 5 % noise
    settling: SettlePolicy = field(default_factory=lambda: SettlePolicy(answers_needed=2))

    @property
    def train(self) -> TrainConfig:
        """Small and from scratch: the loss is low after a hundred steps, however few the labels."""
        return TrainConfig(
            epochs=8, min_steps=80, batch_size=48, lr=2e-3, precision="fp32", seed=self.seed
        )

    @property
    def train_after_drift(self) -> TrainConfig:
        """Twice the steps: there are two kinds of images to learn, and none may be lost."""
        return replace(self.train, min_steps=2 * self.train.min_steps)

    @property
    def snapshot(self) -> SnapshotConfig:
        return SnapshotConfig(seed=self.seed)

    @property
    def start(self) -> SelectionConfig:
        """Most of the standing audit and a small random first batch, asked about together."""
        return SelectionConfig(
            strategy="random", size=AUDIT + FIRST, audit_share=AUDIT / (AUDIT + FIRST)
        )

    def batch(self, person: bool) -> int:
        """Labels in one round: a person in front of the demo has less patience."""
        return PERSON_BATCH if person else BATCH

    def round(self, person: bool) -> SelectionConfig:
        """As a round is by default, but that the audit is labelled already."""
        return SelectionConfig(size=self.batch(person), audit_share=0.0)

    def policies(self, person: bool) -> Policies:
        """One person in front of the demo is asked once; the simulated two both answer.

        Networks learn from labels alone, as the random baseline does that they are compared with.
        """
        settling = SettlePolicy(answers_needed=1) if person else self.settling
        return Policies(settling=settling, snapshot=self.snapshot, train=TrainPolicy(pool="off"))

    @property
    def after_drift(self) -> SelectionConfig:
        """A third of the labels goes to the audit: what is new must be measured, too."""
        return SelectionConfig(size=DRIFT_BATCH, audit_share=DRIFT_AUDIT / DRIFT_BATCH)


class Progress:
    """Progress lines with the time since the start."""

    def __init__(self) -> None:
        self.console = Console(stderr=False, highlight=False)
        self.began = time.monotonic()

    def __call__(self, line: str) -> None:
        self.console.print(f"[dim]{self.seconds:5.0f} s[/dim]  {line}", soft_wrap=True)

    @property
    def seconds(self) -> float:
        return time.monotonic() - self.began


def make_workspace(
    home: Path, recipe: Recipe, *, person: bool = False
) -> dict[str, list[digits.Digit]]:
    """A new workspace with the digits beside it; return the digits by what they are for."""
    root, seed = home / "workspace", recipe.seed
    init_workspace(
        root,
        [str(number) for number in range(10)],
        title="Handwritten digits",
        purpose="Which digit did the person write?",
        image_size=recipe.image_size,
        policies=policies_toml(recipe.policies(person)),
    )
    with writing(open_context().engine) as connection:  # the same seed plays the same demo
        set_key(connection, f"demo {seed}".encode())
    pool, back = digits.load_digits(seed, held_back=CLEAN + SHIFTED + SCORED)
    sets = {
        "clean": back[:CLEAN],
        "scored-clean": back[CLEAN + SHIFTED :],
        "shifted": digits.shifted(back[CLEAN : CLEAN + SHIFTED], seed),
        "scored-shifted": digits.shifted(back[CLEAN + SHIFTED :], seed + 1),
        "again": digits.shifted(back[CLEAN + SHIFTED :], seed + 2),
    }
    digits.write_digits(home / "digits", pool)
    served = ("clean", "shifted", "again")
    truths = digits.truth_table(pool + [one for name in served for one in sets[name]])
    simulation.save_simulation(root, truths, ANNOTATORS, seed=seed)
    return sets


def labels_to_train_on() -> int:
    """How many labels there are beside the audit's: those of rounds and of duels."""
    with open_context().engine.connect() as connection:
        counts = ledger_counts(connection)
    return counts.labels - counts.audit_labelled


def start_random_baseline(beside: Executor, recipe: Recipe, labels: int) -> "Future[float]":
    """Train on so many labels, the first batch and random samples, in another process."""
    ctx = open_context()
    table = load_snapshot(ctx.engine, ctx.workspace, "snapshot-0001")
    with ctx.engine.connect() as connection:
        audit = of_part(connection, table[table["split"] == "test"], part=Part.GATE)
        everything = load_samples(connection)
        never_trained = audit_groups(connection)
    first = set(_first_batch(table))
    others = everything[
        ~everything["sample_id"].isin(first) & ~everything["group_id"].isin(list(never_trained))
    ].sort_values("sample_id")
    drawn = others.sample(frac=1, random_state=recipe.seed).head(labels - len(first))
    asked = pd.concat([everything[everything["sample_id"].isin(first)], drawn])
    labelled = label_random(asked, ctx.workspace.root, ctx.workspace.class_names, recipe.settling)
    training_table = baseline_table(audit, labelled, recipe.snapshot)
    return beside.submit(
        baseline_accuracy,
        training_table,
        ctx.workspace.shards,
        ctx.workspace.class_names,
        image_size=recipe.image_size,
        network=recipe.network,
        config=recipe.train,
        threads=ctx.settings.threads,
    )


def round_facts(number: int) -> dict[str, Any]:
    """What the newest verdict says of a round, and how many labels it had to train on."""
    ctx = open_context()
    with ctx.engine.connect() as connection:
        verdict = newest_verdict(connection)
    if verdict is None:
        raise RuntimeError(f"round {number} ended without a verdict; `hone status` shows why")
    table = load_snapshot(ctx.engine, ctx.workspace, verdict.snapshot)
    metrics = verdict.metrics
    return {
        "round": number,
        "labels": int(table["split"].isin(["train", "val"]).sum()),
        "accuracy": round(metrics["challenger_accuracy"], 4),
        "interval": [round(metrics[f"challenger_accuracy_{end}"], 4) for end in ("low", "high")],
        "random_accuracy": None,
        "verdict": verdict.outcome,
        "duel": cost.sentence() if (cost := duel_cost(verdict.verdict_id)) else None,
    }


def accuracy_of(version: str, images: Sequence[digits.Digit]) -> float:
    """Accuracy of a version on images that no round ever sees."""
    import torch

    from core.images import clean_image, decode_image
    from models.network.images import prepare
    from models.scoring.predict import predict

    ctx = open_context()
    model = load_version(ctx, version)
    ready = torch.stack(
        [
            prepare(decode_image(clean_image(one.png).content), model.card.image_size)
            for one in images
        ]
    )
    outputs = predict(model.network, ready, threads=ctx.settings.threads).outputs
    truths = [one.truth for one in images]
    return float(model.card.label_kind.credit(outputs, truths, model.card.classes).mean())


def labelled_prediction() -> str:
    """A served prediction whose image was labelled since."""
    ctx = open_context()
    with ctx.engine.connect() as connection:
        labelled = labelled_samples(connection, Origin.SERVED)
    prediction_id = first_prediction(ctx.engine, labelled)
    if prediction_id is None:
        raise RuntimeError("no served image has a label yet; `hone collect` settles answers")
    return prediction_id


@contextmanager
def serve(home: Path) -> Iterator[servers.Server]:
    """`bentoml serve` of the champion's bento, from a folder that is not the repository."""
    from models.registry.bento import package

    ctx = open_context()
    environment = {
        "HONE_WORKSPACE": str(ctx.workspace.root),
        "HONE_THREADS": "1",
        "BENTOML_HOME": str(ctx.workspace.bento_home),
        "HONE_SERVICE_TOKEN": "",  # the demo's clients have none
    }
    tag = package(ctx.workspace, champion())
    with servers.bentoml(tag, home / "service", environment) as server:
        yield server


def runtime(version: str) -> str:
    """What computes the predictions of a served model, with its speed-up where it was measured."""
    return runtime_of(open_context(), version) or "torch"


def champion() -> str:
    """The version in service."""
    version = releases.champion(open_context().engine)
    if version is None:
        raise RuntimeError("no model was promoted; see the verdict in `hone status`")
    return version


def draw_curves(facts: dict[str, Any], start: dict[str, Any], path: Path) -> None:
    """A picture of the two learning curves from their common start, with the audit's interval."""
    from matplotlib.figure import Figure

    rows = [start | {"random_accuracy": start["accuracy"]}, *facts["rounds"]]
    labels = [row["labels"] for row in rows]
    chosen = [row["accuracy"] for row in rows]
    figure = Figure(figsize=(6, 4), layout="constrained")
    axes = figure.add_subplot()
    below = [row["accuracy"] - row["interval"][0] for row in rows]
    above = [row["interval"][1] - row["accuracy"] for row in rows]
    axes.errorbar(labels, chosen, [below, above], marker="o", capsize=3, label="chosen")
    axes.plot(labels, [row["random_accuracy"] for row in rows], marker="s", ls="--", label="random")
    axes.set(
        xlabel="labels", ylabel="accuracy on the audit set", title="Chosen labels and random ones"
    )
    axes.grid(alpha=0.3)
    axes.legend()
    write_atomically(path, lambda file: figure.savefig(file, format="png", dpi=130))


def show_facts(story: Progress, facts: dict[str, Any], picture: Path, trace: Trace) -> None:
    """The last page: the table, the numbers of the drift, the trace, and where to look further."""
    table = Table(title="Rounds")
    for heading in ("round", "labels", "audit accuracy", "random's", "verdict"):
        table.add_column(heading, justify="right")
    for row in facts["rounds"]:
        low, high = row["interval"]
        table.add_row(
            str(row["round"]),
            str(row["labels"]),
            f"{row['accuracy']:.3f} ({low:.3f}-{high:.3f})",
            f"{row['random_accuracy']:.3f}",
            row["verdict"],
        )
    out = story.console.print
    out(table)
    for row in facts["rounds"]:
        if row["duel"] is not None:
            out(f"round {row['round']}, {row['duel']}")
    recovery = facts["recovery"]
    drift = facts["drift"]
    out(
        f"drift: clean window {drift['clean_window']}, shifted window {drift['shifted_window']} "
        f"({drift['kind']}, {len(drift['alerts'])} alert), shifted again {drift['again_window']}"
    )
    out(f"{drift['incident']}: {'closed' if drift['incident_closed'] else 'open'}; its images:")
    for path in drift["exemplars"]:
        out(f"  {path}", markup=False, soft_wrap=True)
    for what in ("shifted", "clean"):
        out(
            f"{what} images: {recovery[f'{what}_before']:.3f} before the drift round, "
            f"{recovery[f'{what}_after']:.3f} after"
        )
    out(f"learning curves: {picture}")
    out("one prediction, traced back:")
    show_trace(trace, story.console)
    root = facts["workspace"]
    out("look further:")
    for command in ("status", "why", "alerts", "fsck", f"trace {facts['trace']['prediction_id']}"):
        out(f"  .venv/bin/hone --workspace {root} {command}", markup=False, soft_wrap=True)
    out(f"  HONE_WORKSPACE={root} .venv/bin/bentoml serve", markup=False, soft_wrap=True)


def trace_ids(trace: Trace) -> dict[str, Any]:
    """The ids on the way of a trace."""
    label = trace.truth
    return {
        "prediction_id": trace.prediction.prediction_id,
        "sample_id": trace.image.sample_id,
        "model": trace.model.version,
        "snapshot": trace.snapshot.name if trace.snapshot else None,
        "label": label.label if label else None,
        "round": label.round_id if label else None,
        "annotators": label.annotators if label else [],
    }


def _first_batch(table: pd.DataFrame) -> list[str]:
    return table.loc[
        (table["round_id"] == "round-0001") & (table["split"] != "test"), "sample_id"
    ].tolist()
