"""Snapshot to challenger: one training, tracked and kept."""

import hashlib
import json
import subprocess
import tomllib
from dataclasses import asdict
from importlib.metadata import version as installed
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pandas as pd
from PIL import Image, ImageOps
from prefect import task

from core.child_environment import environment_without_secrets
from core.database import now, writing
from core.images import decode_image
from core.intents import begin_intent, commit_intent, intent_outcome, mark_done
from core.locks import Token, only_writer
from core.shards import read_image
from labeling.ledger import rounds
from labeling.ledger.tables import location_of
from labeling.snapshots import publish as frozen
from models.kinds import KINDS
from models.network.network import NetworkConfig
from models.registry.model_card import ModelCard
from models.training.config import TrainConfig
from models.training.rows import SOFT
from models.training.trainable import missing_for_training
from tasks.context import Context, open_context
from tasks.report.artifacts import progress
from tasks.retries import is_lock_busy
from tasks.watch.standing import print_awaited_answers

if TYPE_CHECKING:
    import numpy as np

    from models.training.tracking import Run
    from models.training.train import Trained

LOCK = "training"
CODE = Path(__file__).parents[2]
SHOWN_SIDE = 256  # pixels of a mistake in W&B
DAY, WAIT = 24 * 3600, 300  # seconds
TRAIN = "train"  # kind of intent: one training for each (snapshot, configuration, code)


@task(
    retries=DAY // WAIT,
    retry_delay_seconds=WAIT,  # another training holds the lock
    retry_condition_fn=is_lock_busy,
)
def choose_snapshot(name: str | None) -> str | None:
    """The snapshot asked for, or the newest once no other training is under way.

    None, and a sentence, when the newest cannot be trained on; for a snapshot asked for by name
    that is an error.
    """
    ctx = open_context()
    with only_writer(ctx.engine, LOCK, patience=1.0), ctx.engine.connect() as connection:
        chosen = name or frozen.newest_snapshot(connection)
    if chosen is None:
        print("nothing to train on: there is no snapshot; `hone collect` cuts one from the answers")
        return None
    if name is None:
        print_awaited_answers(ctx)
    missing = missing_for_training(frozen.load_snapshot(ctx.engine, ctx.workspace, chosen))
    if missing and name:
        raise ValueError(f"{chosen} cannot be trained on: {missing}")
    if missing:
        print(f"{chosen} cannot be trained on: {missing}")
    return None if missing else chosen


@task(
    timeout_seconds=DAY,
    retries=DAY // WAIT,
    retry_delay_seconds=WAIT,
    retry_condition_fn=is_lock_busy,
)
def train_challenger(snapshot: str, network: NetworkConfig, config: TrainConfig) -> str:
    """Fine-tune on a snapshot and keep the model; return its version.

    Idempotent: the same snapshot, configuration and code are trained once. Retried only while
    another training holds the lock: what stops a training (a loss that is not finite, too little
    memory) would stop it again.
    """
    ctx = open_context()
    commit = code_commit(ctx.settings.commit)
    words = [snapshot, asdict(network), asdict(config), commit]
    key = hashlib.sha256(json.dumps(words, default=str).encode()).hexdigest()[:16]
    with only_writer(ctx.engine, LOCK, patience=1.0) as token:
        with writing(ctx.engine) as connection:
            done = intent_outcome(connection, kind=TRAIN, key=key)
            if done is None:
                begin_intent(connection, token, kind=TRAIN, key=key, payload={"snapshot": snapshot})
        if done is not None:
            print(f"{snapshot} was trained with this configuration and code: {done}")
            return done
        version = _train(ctx, token, snapshot, network, config, key=key, commit=commit)
        with writing(ctx.engine) as connection:
            mark_done(connection, token, kind=TRAIN, key=key)
            commit_intent(connection, token, kind=TRAIN, key=key, outcome=version)
    return version


def code_commit(stated: str | None = None) -> str:
    """The commit of the running code, marked when the tree has changes.

    Without git's folder, as in the image, the commit that is `stated`, else the version.
    """
    described = ""
    if (CODE / ".git").exists():
        described = subprocess.run(
            ["git", "describe", "--always", "--dirty", "--abbrev=40", "--exclude=*"],
            cwd=CODE,
            env=environment_without_secrets(),
            capture_output=True,
            text=True,
            check=False,
        ).stdout.strip()
    return described or stated or _version()


def _version() -> str:
    """The version of the code: of the project it lies in, else of the installed package."""
    project = CODE / "pyproject.toml"
    if not project.exists():
        return installed("hone")
    return str(tomllib.loads(project.read_text(encoding="utf-8"))["project"]["version"])


def _train(
    ctx: Context,
    token: Token,
    snapshot: str,
    network: NetworkConfig,
    config: TrainConfig,
    *,
    key: str,
    commit: str,
) -> str:
    from models.training.tracking import tracked_run
    from models.training.train import train

    table = frozen.load_snapshot(ctx.engine, ctx.workspace, snapshot)
    frozen.fetch_shards(ctx.engine, ctx.workspace, snapshot)
    show = progress(f"Training on {snapshot}")
    key_of_wandb = ctx.settings.wandb_key
    about = {"snapshot": snapshot, "commit": commit} | _about(ctx, table, network, config)
    about |= {"teacher": _teacher(ctx, snapshot), **_pool(ctx, table, snapshot, config)}
    with tracked_run(
        ctx.workspace.runs,
        f"{snapshot}-{key[:6]}",
        about,
        project=ctx.settings.wandb_project,
        online=key_of_wandb is not None,
        api_key=key_of_wandb,
    ) as run:

        def each_epoch(numbers: dict[str, Any]) -> None:
            token.check()
            run.log(numbers)
            show(min(numbers["epoch"], config.epochs), config.epochs)

        trained = train(
            table,
            ctx.workspace.shards,
            ctx.workspace.class_names,
            ctx.workspace.image_size,
            config,
            network=network,
            kind=KINDS[ctx.workspace.kind],
            on_epoch=each_epoch,
            threads=ctx.settings.threads,
        )
        version = _keep(ctx, table, trained, about, run)
    show(1, 1)
    print(f"trained {version} on {snapshot}, {_summary(trained)}")
    if about["pretrained"]:
        print(f"its training began with {about['pretrained']}")
    return version


def _about(
    ctx: Context, table: pd.DataFrame, network: NetworkConfig, config: TrainConfig
) -> dict[str, Any]:
    """What is known of a training before it begins: the configuration of its run in W&B."""
    from models.network.weights import origin_of
    from models.training.recipe import choose_recipe

    return {
        "seed": config.seed,
        "strategy": _strategy(ctx),
        "network": asdict(network),
        "pretrained": origin_of(network.backbone, network.weights),
        "train": asdict(config),
        "recipe": asdict(choose_recipe(table, config, network)),
    }


def _teacher(ctx: Context, snapshot: str) -> str | None:
    """The model whose outputs a snapshot holds for a student; None for one of labels."""
    with ctx.engine.connect() as connection:
        return frozen.teachers(connection).get(snapshot)


def _pool(ctx: Context, table: pd.DataFrame, snapshot: str, config: TrainConfig) -> dict[str, Any]:
    """How many soft rows are trained on, and the sentence about them; None without any."""
    rows = int((table["split"] == SOFT).sum()) if config.soft_weight else 0
    with ctx.engine.connect() as connection:
        why = frozen.why_soft(connection, snapshot)
    return {
        "soft_rows": rows,
        "pool": f"{rows} rows of weight {config.soft_weight:g}: {why}" if rows else None,
    }


def _summary(trained: "Trained") -> str:
    temperature = float(trained.network.temperature)
    how = f"{trained.precision}, best epoch {trained.best_epoch}, temperature {temperature:.2f}"
    return "; ".join([how, *trained.recipe["why"]])


def _keep(
    ctx: Context, table: pd.DataFrame, trained: "Trained", about: dict[str, Any], run: "Run"
) -> str:
    """Save the model with its predictions for rows it did not train on, and show its results."""
    from models.registry.model_store import entry, save_model
    from models.scoring.predict import predict_table

    size = ctx.workspace.image_size
    unseen = table[table["split"].isin(["val", "test"])].reset_index(drop=True)
    reference = predict_table(
        trained.network, unseen, ctx.workspace.shards, size, threads=ctx.settings.threads
    )
    version = save_model(
        ctx.engine,
        ctx.workspace.bento_home,
        trained.network,
        _card(ctx, trained, about),
        reference,
        unseen["sample_id"].tolist(),
    )
    _show_results(run, unseen, reference.outputs, ctx)
    files = entry(ctx.workspace.bento_home, version).iterdir()
    run.model(
        version.replace(":", "-"),
        sorted(path for path in files if path.is_file()),
        version=version,
        snapshot=about["snapshot"],
    )
    run.summarise(
        version=version,
        best_epoch=trained.best_epoch,
        temperature=float(trained.network.temperature),
        absent=trained.absent_classes,
        recipe=trained.recipe,
    )
    return version


def _card(ctx: Context, trained: "Trained", about: dict[str, Any]) -> ModelCard:
    """The card of a model that was trained."""
    return ModelCard(
        classes=tuple(ctx.workspace.class_names),
        image_size=ctx.workspace.image_size,
        network=about["network"],
        train=about["train"],
        snapshot=about["snapshot"],
        code_commit=about["commit"],
        seed=about["seed"],
        strategy=about["strategy"],
        metrics=trained.history[trained.best_epoch - 1],
        created_at=now(),
        kind=ctx.workspace.kind,
        teacher=about["teacher"],
        pretrained=about["pretrained"],
        recipe=trained.recipe,
        pool=about["pool"],
    )


def _show_results(run: "Run", unseen: pd.DataFrame, outputs: "np.ndarray", ctx: Context) -> None:
    """The confusion matrix and the worst mistakes on the rows that were not trained on."""
    from models.judging.compare import worst_mistakes

    kind, classes = KINDS[ctx.workspace.kind], ctx.workspace.class_names
    truths = unseen["label"].tolist()
    run.confusion(kind.confusion(outputs, truths, classes), classes)
    worst = worst_mistakes(outputs, truths, classes, kind=kind)
    pictures = [
        _square(read_image(ctx.workspace.shards, location_of(unseen.iloc[row])))
        for row in worst["row"]
    ]
    captions = [
        f"{row.truth} taken for {row.predicted} ({row.confidence:.2f})"
        for row in worst.itertuples()
    ]
    run.mistakes(pictures, captions)


def _square(content: bytes) -> "np.ndarray":
    """An image as it is shown in W&B, which shows those of one size side by side."""
    import numpy as np

    image = Image.fromarray(decode_image(content))
    return np.asarray(ImageOps.pad(image, (SHOWN_SIDE, SHOWN_SIDE)))


def _strategy(ctx: Context) -> str:
    """The strategy of the latest round, which the run is compared by in W&B."""
    with ctx.engine.connect() as connection:
        return rounds.latest_strategy(connection) or "none"
